variable "template_url" {
  description = "The URL of template.json of the release in your bucket."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^https://.+/template\\.json$", var.template_url))
    error_message = "template_url must be the https URL of template.json in an S3 bucket."
  }
}

variable "name" {
  description = "The name of the stack, and of what it has: the table, the function, the rules."
  type        = string
  default     = "bedrock-key-guard"
  nullable    = false
}

variable "tags" {
  description = "Tags of everything that can have them."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "ceiling" {
  description = "monitor records and reports only, and the function has no permission to change a key. deactivate and delete let the policy's responses go that far."
  type        = string
  default     = "monitor"
  nullable    = false

  validation {
    condition     = contains(["monitor", "deactivate", "delete"], var.ceiling)
    error_message = "Ceiling must be one of: monitor, deactivate, delete."
  }
}

variable "services" {
  description = "The services that policy.toml judges; * is every service with API keys. The function may change credentials of no other."
  type        = list(string)
  default     = ["bedrock.amazonaws.com"]
  nullable    = false

  validation {
    condition     = alltrue([for one in var.services : can(regex("^(\\*|[a-z0-9.-]+\\.amazonaws\\.com)$", one))])
    error_message = "Services must be * or names of services, each ending in .amazonaws.com."
  }
}

variable "policy_source" {
  description = "package is policy.toml beside the function. ledger is the current version in the table, which policy push sets: push one before you deploy this, because the function does not start without."
  type        = string
  default     = "package"
  nullable    = false

  validation {
    condition     = contains(["package", "ledger"], var.policy_source)
    error_message = "PolicySource must be one of: package, ledger."
  }
}

variable "organization_id" {
  description = "Opens an event bus of its own to the accounts of this organization only. Empty for this account only."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(o-[a-z0-9]{10,32})?$", var.organization_id))
    error_message = "OrganizationId must be the id of an organization, o- and 10 to 32 letters or digits, or empty."
  }
}

variable "responder_role" {
  description = "As ResponderRole in member.yaml, after its RolePath if that is not /. Empty for this account only."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(([A-Za-z0-9_+=,.@-]+/)*[A-Za-z0-9_+=,.@-]{1,64})?$", var.responder_role))
    error_message = "ResponderRole must be the name of an IAM role, with its path but without a slash before it, or empty."
  }
}

variable "sweep_schedule" {
  description = "A sweep judges every key that IAM has, as events alone can be missed. The first begins at once."
  type        = string
  default     = "rate(1 day)"
  nullable    = false

  validation {
    condition     = contains(["rate(1 hour)", "rate(6 hours)", "rate(12 hours)", "rate(1 day)", "disabled"], var.sweep_schedule)
    error_message = "SweepSchedule must be one of: rate(1 hour), rate(6 hours), rate(12 hours), rate(1 day), disabled."
  }
}

variable "sweep_ceiling" {
  description = "The furthest that a sweep may go, and never further than Ceiling. A lower Ceiling applies to sweeps, too."
  type        = string
  default     = "monitor"
  nullable    = false

  validation {
    condition     = contains(["monitor", "deactivate", "delete"], var.sweep_ceiling)
    error_message = "SweepCeiling must be one of: monitor, deactivate, delete."
  }
}

variable "sweep_accounts" {
  description = "Accounts to sweep beside this one, which is always swept. They need ResponderRole, and member.yaml there. The word heard, or empty, for each account of the organization whose heartbeat was heard; empty for this account only where there is no OrganizationId."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for one in var.sweep_accounts : can(regex("^(\\d{12}|heard)?$", one))])
    error_message = "SweepAccounts must be account ids of 12 digits, with commas between, or the word heard, or empty."
  }
}

variable "notification_email" {
  description = "Gets noncompliant and undetermined keys, and alarms, after it confirms the subscription. Optional."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^([^@\\s]+@[^@\\s]+\\.[^@\\s]+)?$", var.notification_email))
    error_message = "NotificationEmail must be an e-mail address, or empty."
  }
}

variable "chat" {
  description = "A topic with findings as Amazon Q Developer in chat applications takes them (Slack, Microsoft Teams)."
  type        = string
  default     = "disabled"
  nullable    = false

  validation {
    condition     = contains(["enabled", "disabled"], var.chat)
    error_message = "Chat must be one of: enabled, disabled."
  }
}

variable "security_hub" {
  description = "Imports findings into Security Hub of this account, where it has to be enabled, and archives them when they end."
  type        = string
  default     = "disabled"
  nullable    = false

  validation {
    condition     = contains(["enabled", "disabled"], var.security_hub)
    error_message = "SecurityHub must be one of: enabled, disabled."
  }
}

variable "contact" {
  description = "Whom owners of keys ask, and where they get an exemption, such as an e-mail address or a URL: findings say so. Empty to name the team that runs Bedrock Key Guard."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^([^\\x00-\\x20\\x7f\"`\\\\]([^\\x00-\\x1f\\x7f\"`\\\\]*[^\\x00-\\x20\\x7f\"`\\\\])?)?$", var.contact))
    error_message = "Contact must be printable text without quotes, backticks, backslashes and spaces around it, or empty."
  }

  validation {
    condition     = length(var.contact) <= 200
    error_message = "Contact must have at most 200 characters."
  }
}

variable "slow_outcome_seconds" {
  description = "CloudTrail usually delivers within minutes, a failed invocation is repeated for about three more, and what still failed comes back after 20 minutes. So an hour has room for two disturbances that heal by themselves."
  type        = number
  default     = 3600
  nullable    = false

  validation {
    condition     = var.slow_outcome_seconds >= 60
    error_message = "SlowOutcomeSeconds must be 60 or more."
  }
}

variable "heartbeat" {
  description = "A denied call of DeleteServiceSpecificCredential every hour, by a role without any permission, which has to come through CloudTrail and EventBridge. Where it does not for three hours, an alarm says that nothing is heard."
  type        = string
  default     = "enabled"
  nullable    = false

  validation {
    condition     = contains(["enabled", "disabled"], var.heartbeat)
    error_message = "Heartbeat must be one of: enabled, disabled."
  }
}

variable "ledger_table" {
  description = "The table that an earlier stack left behind. Empty to make a new one, named after the stack."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^([A-Za-z0-9_.-]{3,128})?$", var.ledger_table))
    error_message = "LedgerTable must be the name of a DynamoDB table, of 128 characters at most, or empty."
  }
}

variable "attempt_days" {
  description = "How many days the table keeps attempts, which are calls that failed. Keys and their history stay."
  type        = number
  default     = 90
  nullable    = false

  validation {
    condition     = var.attempt_days >= 1 && var.attempt_days <= 3650
    error_message = "AttemptDays must be 1 to 3650."
  }
}

variable "kms_key_arn" {
  description = "Encrypts the table, the queues, the topic and the logs. docs/reference/templates.md has what its policy needs. Empty for keys that AWS owns, which cost nothing."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(arn:aws(-[a-z]+)*:kms:[a-z0-9-]+:\\d{12}:key/[A-Za-z0-9-]+)?$", var.kms_key_arn))
    error_message = "KmsKeyArn must be the ARN of a KMS key, or empty."
  }
}

variable "permissions_boundary" {
  description = "The permissions boundary of every role. It has to allow what docs/reference/templates.md lists. Empty for none."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^(arn:aws(-[a-z]+)*:iam::(aws|\\d{12}):policy/[A-Za-z0-9_+=,.@/-]+)?$", var.permissions_boundary))
    error_message = "PermissionsBoundary must be the ARN of an IAM policy, or empty."
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

variable "architecture" {
  description = "As the package was built for."
  type        = string
  default     = "arm64"
  nullable    = false

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "Architecture must be one of: arm64, x86_64."
  }
}

variable "memory_size" {
  description = "The function needs less than 16 MiB; more memory is more CPU."
  type        = number
  default     = 256
  nullable    = false

  validation {
    condition     = var.memory_size >= 128 && var.memory_size <= 3008
    error_message = "MemorySize must be 128 to 3008."
  }
}

variable "reserved_concurrency" {
  description = "Sets invocations aside for the guard. Empty to share those of the account."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^([1-9][0-9]{0,4})?$", var.reserved_concurrency))
    error_message = "ReservedConcurrency must be 1 to 99999, or empty."
  }
}

variable "log_level" {
  description = "INFO is one line for each invocation. Lambda would drop the metrics, which are lines too, at a higher level."
  type        = string
  default     = "INFO"
  nullable    = false

  validation {
    condition     = contains(["INFO", "DEBUG"], var.log_level)
    error_message = "LogLevel must be one of: INFO, DEBUG."
  }
}

variable "log_retention_days" {
  description = "The ledger is the audit trail; logs tell how the guard got there."
  type        = number
  default     = 365
  nullable    = false

  validation {
    condition     = contains([30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "LogRetentionDays must be one of: 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653."
  }
}

variable "tracing" {
  description = "Active sends a trace of each invocation."
  type        = string
  default     = "PassThrough"
  nullable    = false

  validation {
    condition     = contains(["PassThrough", "Active"], var.tracing)
    error_message = "Tracing must be one of: PassThrough, Active."
  }
}

variable "code_bucket" {
  description = "The bucket with the files of the release, in the region of the stack."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.code_bucket))
    error_message = "CodeBucket must be the name of an S3 bucket."
  }
}

variable "code_key" {
  description = "The key of the function's zip in CodeBucket. Empty for that of this version and Architecture, in the folder bedrock-key-guard/VERSION of the bucket."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = length(var.code_key) <= 1024
    error_message = "CodeKey must have at most 1024 characters."
  }
}
