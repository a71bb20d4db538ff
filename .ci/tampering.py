"""Events of changes to the guard's own resources, and of what is none, for .ci/templates and .ci/notifications.

Names and ids are invented. That a record has these fields, and that a call by CloudFormation has its name as
sourceIPAddress, is in the CloudTrail user guide (*CloudTrail record contents*). What a request is recorded with is in the
chapters *Logging … API calls with AWS CloudTrail* of EventBridge (name, rule), Lambda (functionName, with the API's date in
the event's name), DynamoDB (tableName), SQS (queueUrl), SNS (topicArn), CloudWatch (alarmName, alarmNames), Step Functions
(stateMachineArn), IAM (roleName) and CloudTrail (name, trailName). Assumed, after the parameters of the API: those of
Scheduler, subscriptions and DynamoDB's resource policies; and that a refused call has no requestParameters in other
services than IAM, either, and an errorMessage that ends in "on resource: ARN because …".
"""
LEDGER, MEMBER = "111122223333", "444455556666"
STACK = "bedrock-key-guard"
# A name of one's own, which only member.yaml knows.
RESPONDER = "guard-responder"
QUEUES = f"https://sqs.us-east-1.amazonaws.com/{LEDGER}"


def arn(service, name, account=LEDGER):
    return f"arn:aws:{service}:us-east-1:{account}:{name}"


def refused(action, resource):
    user = f"arn:aws:sts::{LEDGER}:assumed-role/developer/mallory"
    return {
        "errorCode": "AccessDenied",
        "errorMessage": f"User: {user} is not authorized to perform: {action} on resource: {resource} because no "
                        "identity-based policy allows the action",
    }


# The service, the call, its request, and what is different in the record.
OF_LEDGER = [
    ("events", "DisableRule", {"name": STACK}),
    ("events", "DeleteRule", {"name": f"{STACK}-members", "eventBusName": f"{STACK}-members"}),
    ("events", "PutRule", {"name": f"{STACK}-tampering", "state": "ENABLED"}),
    ("events", "PutTargets", {"rule": STACK, "targets": [{"id": "guard", "arn": arn("lambda", "function:other")}]}),
    ("events", "RemoveTargets", {"rule": f"{STACK}-findings", "ids": ["notifications"]}),
    ("events", "DeleteEventBus", {"name": f"{STACK}-reports"}),
    ("events", "PutPermission", {"eventBusName": f"{STACK}-reports", "policy": "{}"}),
    ("lambda", "UpdateFunctionCode20150331v2", {"functionName": STACK}),
    ("lambda", "UpdateFunctionConfiguration20150331v2", {"functionName": arn("lambda", f"function:{STACK}")}),
    ("lambda", "PutFunctionConcurrency20171031", {"functionName": STACK, "reservedConcurrentExecutions": 0}),
    ("lambda", "DeleteFunction20150331", {"functionName": STACK}),
    ("lambda", "UpdateFunctionEventInvokeConfig", {"functionName": STACK, "maximumRetryAttempts": 0}),
    ("iam", "DetachRolePolicy", {"roleName": f"{STACK}-us-east-1"}),
    ("iam", "PutRolePolicy", {"roleName": f"{STACK}-us-east-1", "policyName": "more"}),
    ("iam", "UpdateAssumeRolePolicy", {"roleName": "bedrock-key-guard-heartbeat"}),
    ("dynamodb", "DeleteTable", {"tableName": STACK}),
    # An operation on a table takes its ARN, too (DynamoDB API reference, DeleteTable).
    ("dynamodb", "DeleteTable", {"tableName": arn("dynamodb", f"table/{STACK}")}),
    ("dynamodb", "UpdateTable", {"tableName": STACK, "deletionProtectionEnabled": False}),
    ("dynamodb", "PutResourcePolicy", {"resourceArn": arn("dynamodb", f"table/{STACK}")}),
    ("sqs", "PurgeQueue", {"queueUrl": f"{QUEUES}/{STACK}-failed"}),
    ("sqs", "SetQueueAttributes", {"queueUrl": f"{QUEUES}/{STACK}-unsent", "attributes": {}}),
    ("sns", "DeleteTopic", {"topicArn": arn("sns", STACK)}),
    ("sns", "SetTopicAttributes", {"topicArn": arn("sns", f"{STACK}-chat"), "attributeName": "Policy"}),
    ("sns", "Unsubscribe", {"subscriptionArn": arn("sns", f"{STACK}:2bcfbf39-05c3-41de-beaa-fcfcc21c8f55")}),
    ("sns", "Unsubscribe", {"subscriptionArn": arn("sns", f"{STACK}-chat:5be8f7a1-2d0c-4c7b-9a56-2c1f0e9d3b44")}),
    ("scheduler", "DeleteSchedule", {"name": f"{STACK}-sweep"}),
    ("scheduler", "UpdateSchedule", {"name": f"{STACK}-resume", "state": "DISABLED"}),
    ("states", "UpdateStateMachine", {"stateMachineArn": arn("states", f"stateMachine:{STACK}-notifications")}),
    ("states", "UpdateStateMachine", {"stateMachineArn": arn("states", f"stateMachine:{STACK}-recover"), "definition": "{}"}),
    ("states", "DeleteStateMachine", {"stateMachineArn": arn("states", f"stateMachine:{STACK}-recover")}),
    ("monitoring", "DeleteAlarms", {"alarmNames": ["other", f"{STACK}-nothing-heard"]}),
    ("monitoring", "PutMetricAlarm", {"alarmName": f"{STACK}-errors"}),
    ("cloudtrail", "StopLogging", {"name": arn("cloudtrail", "trail/organization")}),
    ("cloudtrail", "DeleteTrail", {"name": "organization"}),
    ("cloudtrail", "UpdateTrail", {"name": "organization", "includeGlobalServiceEvents": False}),
    ("cloudtrail", "PutEventSelectors", {"trailName": "organization"}),
    # A call that was refused.
    ("events", "DisableRule", None, refused("events:DisableRule", arn("events", f"rule/{STACK}"))),
    ("lambda", "UpdateFunctionCode20150331v2", None, refused("lambda:UpdateFunctionCode", arn("lambda", f"function:{STACK}"))),
    ("iam", "PutRolePolicy", None, refused("iam:PutRolePolicy", f"role {STACK}-us-east-1")),
    ("cloudtrail", "StopLogging", None, refused("cloudtrail:StopLogging", arn("cloudtrail", "trail/organization"))),
    # One that failed for another reason.
    ("sns", "DeleteTopic", {"topicArn": arn("sns", STACK)}, {"errorCode": "Throttling"}),
]
# Rules on changes, each with one that reports what is done to it.
WATCHED = {
    "ledger": {f"{STACK}-tampering": "OtherTampering", f"{STACK}-other-tampering": "Tampering",
               f"{STACK}-member-tampering": "Tampering"},
    "member": {"bedrock-key-guard-member-tampering": "TamperingWithRules", "bedrock-key-guard-member-rules": "Tampering"},
}
OF_MEMBER = [
    ("events", "DisableRule", {"name": "bedrock-key-guard-member"}),
    ("events", "RemoveTargets", {"rule": "bedrock-key-guard-member", "ids": ["ledger"]}),
    ("events", "DisableRule", {"name": "bedrock-key-guard-member-tampering"}),
    ("events", "DisableRule", {"name": "bedrock-key-guard-member-rules"}),
    ("sqs", "DeleteQueue", {"queueUrl": f"https://sqs.us-east-1.amazonaws.com/{MEMBER}/bedrock-key-guard-member-undelivered"}),
    ("scheduler", "DeleteSchedule", {"name": "bedrock-key-guard-member-heartbeat"}),
    ("monitoring", "DisableAlarmActions", {"alarmNames": ["bedrock-key-guard-member-nothing-heard"]}),
    ("monitoring", "PutMetricAlarm", {"alarmName": "bedrock-key-guard-member-nothing-heard"}),
    ("iam", "DeleteRole", {"roleName": RESPONDER}),
    ("iam", "PutRolePolicy", {"roleName": "bedrock-key-guard-heartbeat"}),
    ("iam", "DeleteRolePolicy", {"roleName": "bedrock-key-guard-member-forwarder"}),
    ("cloudtrail", "StopLogging", {"name": "of-this-account"}),
    ("events", "DeleteRule", None, refused("events:DeleteRule", arn("events", "rule/bedrock-key-guard-member", MEMBER))),
    ("iam", "DeleteRole", None, refused("iam:DeleteRole", f"role {RESPONDER}")),
]
# What happens with the guard's own all day, where a trail logs data events (CloudTrail user guide, Logging data events).
DATA = {"managementEvent": False, "eventCategory": "Data"}
DATA_EVENTS = [
    ("sns", "Publish", {"topicArn": arn("sns", STACK)}, DATA),
    ("dynamodb", "PutItem", {"tableName": STACK, "key": {"pk": "ACCAEXAMPLEKEY0000001"}}, DATA),
    ("sqs", "ReceiveMessage", {"queueUrl": f"{QUEUES}/{STACK}-failed"}, DATA),
    ("sqs", "SendMessage", {"queueUrl": f"{QUEUES}/bedrock-key-guard-member-undelivered"}, DATA),
    ("lambda", "Invoke", {"functionName": arn("lambda", f"function:{STACK}")}, DATA),
    ("lambda", "Invoke", None, refused("lambda:InvokeFunction", arn("lambda", f"function:{STACK}")) | DATA),
    ("sqs", "SendMessage", None, refused("sqs:SendMessage", arn("sqs", "bedrock-key-guard-member-undelivered")) | DATA),
]
BY_DEPLOYMENT = {
    "sourceIPAddress": "cloudformation.amazonaws.com", "userAgent": "cloudformation.amazonaws.com",
    "userIdentity": {"type": "AssumedRole", "arn": f"arn:aws:sts::{LEDGER}:assumed-role/deployer/ci",
                     "accountId": LEDGER, "invokedBy": "cloudformation.amazonaws.com"},
}
# Other people's resources, and what people and services do with the guard's every day.
OF_NOBODY = [
    ("events", "DisableRule", {"name": "other"}),
    ("events", "DisableRule", {"name": "my-bedrock-key-guard"}),
    ("events", "PutRule", {"name": "bedrock-key-guards"}),
    ("events", "PutRule", {"name": "tickets", "eventBusName": f"{STACK}-reports"}),
    ("events", "PutPermission", {"eventBusName": "other"}),
    ("lambda", "UpdateFunctionCode20150331v2", {"functionName": "other"}),
    ("lambda", "UpdateFunctionCode20150331v2", {"functionName": arn("lambda", "function:my-bedrock-key-guard")}),
    ("iam", "PutRolePolicy", {"roleName": "other"}),
    ("iam", "TagRole", {"roleName": f"{STACK}-us-east-1"}),
    ("dynamodb", "CreateBackup", {"tableName": STACK, "backupName": "daily"}),
    ("dynamodb", "DeleteTable", {"tableName": "other"}),
    ("dynamodb", "DeleteTable", {"tableName": arn("dynamodb", "table/other")}),
    ("dynamodb", "TagResource", {"resourceArn": arn("dynamodb", f"table/{STACK}"), "tags": []}),
    ("dynamodb", "UntagResource", {"resourceArn": arn("dynamodb", f"table/{STACK}"), "tagKeys": ["team"]}),
    ("sqs", "PurgeQueue", {"queueUrl": f"{QUEUES}/other"}),
    ("sqs", "TagQueue", {"queueUrl": f"{QUEUES}/{STACK}-failed"}),
    ("sns", "Subscribe", {"topicArn": arn("sns", STACK), "protocol": "email"}),
    ("sns", "DeleteTopic", {"topicArn": arn("sns", "other")}),
    ("sns", "Unsubscribe", {"subscriptionArn": arn("sns", f"{STACK}-other:5be8f7a1-2d0c-4c7b-9a56-2c1f0e9d3b44")}),
    ("states", "StartExecution", {"stateMachineArn": arn("states", f"stateMachine:{STACK}-notifications")}),
    ("states", "UpdateStateMachine", {"stateMachineArn": arn("states", "stateMachine:other-recover")}),
    ("monitoring", "DeleteAlarms", {"alarmNames": ["other"]}),
    ("cloudtrail", "CreateTrail", {"name": "second"}),
    ("cloudtrail", "StartLogging", {"name": "organization"}),
    ("iam", "CreateServiceSpecificCredential", {"userName": "svc-chatbot"}),
    # The heartbeat is refused every hour.
    ("iam", "DeleteServiceSpecificCredential", None,
     refused("iam:DeleteServiceSpecificCredential", "user bedrock-key-guard-heartbeat")),
    ("events", "DisableRule", None, refused("events:DisableRule", arn("events", "rule/other"))),
]


def event(account, number, service, call, request, different=None):
    """As EventBridge delivers it."""
    detail = {
        "eventVersion": "1.11",
        "userIdentity": {"type": "AssumedRole", "principalId": "AROAEXAMPLEEXAMPLE001:mallory",
                         "arn": f"arn:aws:sts::{account}:assumed-role/developer/mallory", "accountId": account},
        "eventTime": "2026-11-20T13:04:08Z", "eventSource": f"{service}.amazonaws.com", "eventName": call,
        "awsRegion": "us-east-1", "sourceIPAddress": "198.51.100.27", "userAgent": "aws-cli/2.32.3",
        "requestParameters": request, "responseElements": None, "eventID": f"7d1c{number:04}-7b1e-4c3a-9f00-abc000000000",
        "readOnly": False, "eventType": "AwsApiCall", "managementEvent": True, "recipientAccountId": account,
    } | (different or {})
    return {"version": "0", "source": f"aws.{service}", "detail-type": "AWS API Call via CloudTrail", "account": account,
            "region": "us-east-1", "resources": [], "time": detail["eventTime"], "detail": detail}


def events(account, rows):
    return [event(account, number, *row) for number, row in enumerate(rows)]


def matched(account):
    """What the rules of the `ledger` account have to match, or those on the events of a `member`."""
    return events(LEDGER, OF_LEDGER) if account == "ledger" else events(MEMBER, OF_MEMBER)


def unmatched(account):
    """What they must not match: the same by the deployment, other people's, and what nobody needs to know."""
    number, rows = (LEDGER, OF_LEDGER) if account == "ledger" else (MEMBER, OF_MEMBER)
    deployed = [(*row[:3], BY_DEPLOYMENT) for row in rows if len(row) == 3]
    forged = [one | {"source": "custom.events"} for one in matched(account)]
    return events(number, deployed) + events(number, OF_NOBODY + DATA_EVENTS) + forged


def of_rule(account, name):
    """Each way to silence or to narrow a rule."""
    calls = [("DisableRule", "name"), ("DeleteRule", "name"), ("PutRule", "name"), ("PutTargets", "rule"), ("RemoveTargets", "rule")]
    return events(LEDGER if account == "ledger" else MEMBER, [("events", call, {field: name}) for call, field in calls])
