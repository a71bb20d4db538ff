locals {
  parameters = {
    LedgerBusArn        = var.ledger_bus_arn
    GuardRoleArn        = var.guard_role_arn
    Ceiling             = var.ceiling
    Services            = join(",", var.services)
    ResponderRole       = var.responder_role
    Heartbeat           = var.heartbeat
    AlarmTopicArn       = var.alarm_topic_arn
    PermissionsBoundary = var.permissions_boundary
    RolePath            = var.role_path
  }
}

# A stack in every account below these, and in those that join later.
resource "aws_cloudformation_stack_set" "members" {
  name             = var.name
  description      = "Bedrock Key Guard: forwards IAM's credential events, and lets the guard respond"
  template_url     = var.template_url
  permission_model = "SERVICE_MANAGED"
  call_as          = var.delegated_administrator ? "DELEGATED_ADMIN" : "SELF"
  capabilities     = ["CAPABILITY_NAMED_IAM"]
  parameters       = local.parameters
  tags             = var.tags

  auto_deployment {
    enabled                          = true
    retain_stacks_on_account_removal = false
  }

  operation_preferences {
    max_concurrent_percentage    = 25
    failure_tolerance_percentage = 100
  }

  lifecycle {
    # The service sets it, and the resource would change it back each time.
    ignore_changes = [administration_role_arn]
  }
}

resource "aws_cloudformation_stack_set_instance" "members" {
  stack_set_name            = aws_cloudformation_stack_set.members.name
  stack_set_instance_region = var.region
  call_as                   = aws_cloudformation_stack_set.members.call_as
  retain_stack              = false

  deployment_targets {
    organizational_unit_ids = var.organizational_unit_ids
    account_filter_type     = "DIFFERENCE"
    accounts                = var.excluded_account_ids
  }

  operation_preferences {
    max_concurrent_percentage    = 25
    failure_tolerance_percentage = 100
  }
}

# A StackSet does not reach the management account.
resource "aws_cloudformation_stack" "management_account" {
  count = var.management_account_stack && !var.delegated_administrator ? 1 : 0

  name         = var.name
  template_url = var.template_url
  capabilities = ["CAPABILITY_NAMED_IAM"]
  parameters   = local.parameters
  tags         = var.tags
}
