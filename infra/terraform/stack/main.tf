# The ledger account's stack, from a release.
resource "aws_cloudformation_stack" "guard" {
  name         = var.name
  template_url = var.template_url
  capabilities = ["CAPABILITY_NAMED_IAM"]
  tags         = var.tags

  parameters = {
    Ceiling             = var.ceiling
    Services            = join(",", var.services)
    PolicySource        = var.policy_source
    OrganizationId      = var.organization_id
    ResponderRole       = var.responder_role
    SweepSchedule       = var.sweep_schedule
    SweepCeiling        = var.sweep_ceiling
    SweepAccounts       = join(",", var.sweep_accounts)
    NotificationEmail   = var.notification_email
    Chat                = var.chat
    SecurityHub         = var.security_hub
    Contact             = var.contact
    SlowOutcomeSeconds  = tostring(var.slow_outcome_seconds)
    Heartbeat           = var.heartbeat
    LedgerTable         = var.ledger_table
    AttemptDays         = tostring(var.attempt_days)
    KmsKeyArn           = var.kms_key_arn
    PermissionsBoundary = var.permissions_boundary
    RolePath            = var.role_path
    Architecture        = var.architecture
    MemorySize          = tostring(var.memory_size)
    ReservedConcurrency = var.reserved_concurrency
    LogLevel            = var.log_level
    LogRetentionDays    = tostring(var.log_retention_days)
    Tracing             = var.tracing
    CodeBucket          = var.code_bucket
    CodeKey             = var.code_key
  }
}
