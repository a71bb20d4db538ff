"""The guard's work on a compliant key, as it is usually written: boto3, one transaction."""
import os
from datetime import datetime

import boto3

dynamodb = boto3.client("dynamodb")


def handler(event, context):
    record = event["detail"]
    key = record["responseElements"]["serviceSpecificCredential"]
    form = "%b %d, %Y, %I:%M:%S\u202f%p"
    lifetime = datetime.strptime(key["expirationDate"], form) - datetime.strptime(key["createDate"], form)
    pk = {"S": f"KEY#{record['recipientAccountId']}#{key['serviceSpecificCredentialId']}"}
    report = {
        "account": record["recipientAccountId"],
        "user": key["userName"],
        "lifetime_days": lifetime.days,
        "verdict": "compliant" if lifetime.days <= 90 else "noncompliant",
    }
    item = {name: {"S": str(value)} for name, value in report.items()}
    line = {"S": f"AT#{record['eventTime']}#{record['eventID']}"}
    dynamodb.transact_write_items(
        TransactItems=[
            {"Put": {"TableName": os.environ["KEY_GUARD_TABLE"], "Item": {"pk": pk, "sk": sk, **item},
                     "ConditionExpression": "attribute_not_exists(pk)"}}
            for sk in ({"S": "STATE"}, line)
        ]
    )
    return report
