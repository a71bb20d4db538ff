output "ledger_name" {
  description = "For --ledger dynamodb:"
  value       = lookup(aws_cloudformation_stack.guard.outputs, "LedgerName", null)
}

output "guard_function" {
  description = "For bedrock-key-guard doctor --function"
  value       = lookup(aws_cloudformation_stack.guard.outputs, "GuardFunction", null)
}

output "guard_role_arn" {
  description = "For GuardRoleArn in member.yaml"
  value       = lookup(aws_cloudformation_stack.guard.outputs, "GuardRoleArn", null)
}

output "member_bus_arn" {
  description = "For LedgerBusArn in member.yaml"
  value       = lookup(aws_cloudformation_stack.guard.outputs, "MemberBusArn", null)
}

output "reports_bus_name" {
  description = "Every report comes to this event bus"
  value       = lookup(aws_cloudformation_stack.guard.outputs, "ReportsBusName", null)
}

output "notifications_topic_arn" {
  description = "Findings and alarms; subscribe what you like"
  value       = lookup(aws_cloudformation_stack.guard.outputs, "NotificationsTopicArn", null)
}

output "chat_topic_arn" {
  description = "Findings for Amazon Q Developer in chat applications"
  value       = lookup(aws_cloudformation_stack.guard.outputs, "ChatTopicArn", null)
}

output "failed_queue_url" {
  description = "Events that the function failed with"
  value       = lookup(aws_cloudformation_stack.guard.outputs, "FailedQueueUrl", null)
}

output "undelivered_queue_url" {
  description = "Events that EventBridge could not deliver"
  value       = lookup(aws_cloudformation_stack.guard.outputs, "UndeliveredQueueUrl", null)
}
