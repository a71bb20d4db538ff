variable "template_url" {
  description = "The URL of member.yaml of the release in your bucket."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^https://.+/member\\.yaml$", var.template_url))
    error_message = "template_url must be the https URL of member.yaml in an S3 bucket."
  }
}

variable "organizational_unit_ids" {
  description = "The roots or organizational units whose accounts are guarded, those that join later too."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(var.organizational_unit_ids) > 0 && alltrue([for one in var.organizational_unit_ids : can(regex("^(r-[0-9a-z]{4,32}|ou-[0-9a-z]{4,32}-[0-9a-z]{8,32})$", one))])
    error_message = "organizational_unit_ids must be ids of roots (r-...) or organizational units (ou-...)."
  }
}

variable "excluded_account_ids" {
  description = "Accounts below these that get no stack: the ledger account, whose own stack hears its events."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(var.excluded_account_ids) > 0 && alltrue([for one in var.excluded_account_ids : can(regex("^\\d{12}$", one))])
    error_message = "excluded_account_ids must be ids of 12 digits, that of the ledger account among them."
  }
}

variable "management_account_stack" {
  description = "Whether the account of the provider gets a stack of its own: a StackSet does not reach the management account. false for a delegated administrator."
  type        = bool
  default     = true
  nullable    = false
}

variable "delegated_administrator" {
  description = "Whether the account of the provider is a delegated administrator for StackSets, and not the management account."
  type        = bool
  default     = false
  nullable    = false
}

variable "region" {
  description = "Where IAM's events arrive: us-east-1, us-gov-west-1, cn-north-1 or eusc-de-east-1."
  type        = string
  default     = "us-east-1"
  nullable    = false

  validation {
    condition     = contains(["us-east-1", "us-gov-west-1", "cn-north-1", "eusc-de-east-1"], var.region)
    error_message = "IAM's events arrive in us-east-1, us-gov-west-1, cn-north-1 and eusc-de-east-1 only."
  }
}

variable "name" {
  description = "The name of the StackSet, and of the management account's own stack."
  type        = string
  default     = "bedrock-key-guard-member"
  nullable    = false
}

variable "tags" {
  description = "Tags of everything that can have them."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "ledger_bus_arn" {
  description = "MemberBusArn of the ledger account's stack."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^arn:aws(-[a-z]+)*:events:[a-z0-9-]+:\\d{12}:event-bus/[A-Za-z0-9_.-]{1,256}$", var.ledger_bus_arn))
    error_message = "LedgerBusArn must be the ARN of an event bus."
  }
}

variable "guard_role_arn" {
  description = "GuardRoleArn of the ledger account's stack. No other principal may assume the responder role."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^arn:aws(-[a-z]+)*:iam::\\d{12}:role/[A-Za-z0-9_+=,.@/-]+$", var.guard_role_arn))
    error_message = "GuardRoleArn must be the ARN of an IAM role."
  }
}

variable "ceiling" {
  description = "As in the ledger account's stack. With monitor there is no permission to change a key."
  type        = string
  default     = "monitor"
  nullable    = false

  validation {
    condition     = contains(["monitor", "deactivate", "delete"], var.ceiling)
    error_message = "Ceiling must be one of: monitor, deactivate, delete."
  }
}

variable "services" {
  description = "The services that policy.toml judges; * is every service with API keys. The guard may change credentials of no other."
  type        = list(string)
  default     = ["bedrock.amazonaws.com"]
  nullable    = false

  validation {
    condition     = alltrue([for one in var.services : can(regex("^(\\*|[a-z0-9.-]+\\.amazonaws\\.com)$", one))])
    error_message = "Services must be * or names of services, each ending in .amazonaws.com."
  }
}

variable "responder_role" {
  description = "As ResponderRole in the ledger account's stack, where RolePath stands before it if that is not /."
  type        = string
  default     = "bedrock-key-guard-responder"
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9_+=,.@-]{1,64}$", var.responder_role))
    error_message = "ResponderRole must be the name of an IAM role, without path or ARN."
  }
}

variable "heartbeat" {
  description = "A denied call of DeleteServiceSpecificCredential every hour, by a role without any permission, which has to come through CloudTrail and EventBridge. Where it does not for three hours, the ledger account reports the silence."
  type        = string
  default     = "enabled"
  nullable    = false

  validation {
    condition     = contains(["enabled", "disabled"], var.heartbeat)
    error_message = "Heartbeat must be one of: enabled, disabled."
  }
}

variable "alarm_topic_arn" {
  description = "NotificationsTopicArn of the ledger account's stack, for two alarms in each account, which cost $0.20 a month. Empty for none: the ledger account notices by itself when an account falls silent."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(arn:aws(-[a-z]+)*:sns:[a-z0-9-]+:\\d{12}:[A-Za-z0-9_-]{1,256})?$", var.alarm_topic_arn))
    error_message = "AlarmTopicArn must be the ARN of an SNS topic, or empty."
  }
}

variable "permissions_boundary" {
  description = "The permissions boundary of every role, by its name, as each account has its own. Empty for none."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(([A-Za-z0-9_+=,.@-]+/)*[A-Za-z0-9_+=,.@-]{1,128})?$", var.permissions_boundary))
    error_message = "PermissionsBoundary must be the name of an IAM policy, with its path but without ARN, or empty."
  }
}

variable "role_path" {
  description = "The path of every role. Only at the first deployment; CloudFormation cannot change the path of a role with a name."
  type        = string
  default     = "/"
  nullable    = false

  validation {
    condition     = can(regex("^/([A-Za-z0-9_+=,.@-]+/)*$", var.role_path))
    error_message = "RolePath must be a path, which begins and ends with a slash."
  }
}
