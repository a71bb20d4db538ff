output "stack_set_id" {
  description = "The id of the StackSet."
  value       = aws_cloudformation_stack_set.members.stack_set_id
}
