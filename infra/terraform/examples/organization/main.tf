# An organization: the ledger account's stack, a StackSet for the members, and the management account's own stack.
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0, < 7.0"
    }
  }
}

provider "aws" {
  alias   = "ledger"
  region  = "us-east-1"
  profile = "ledger"
}

provider "aws" {
  alias   = "management"
  region  = "us-east-1"
  profile = "management"
}

# The folder of the release, in a bucket of yours: docs/deploy.md says how it gets there.
locals {
  ledger_account = "111122223333"
  responder_role = "bedrock-key-guard-responder"
  release        = "https://example-key-guard-releases.s3.us-east-1.amazonaws.com/bedrock-key-guard/0.1.0"
}

module "guard" {
  source    = "../../stack"
  providers = { aws = aws.ledger }

  template_url       = "${local.release}/template.json"
  code_bucket        = "example-key-guard-releases"
  organization_id    = "o-exampleorg1"
  responder_role     = local.responder_role
  notification_email = "security@example.com"
}

# The management account has to be able to read the template from the bucket, too.
module "members" {
  source    = "../../members"
  providers = { aws = aws.management }

  template_url            = "${local.release}/member.yaml"
  organizational_unit_ids = ["r-exam"]
  excluded_account_ids    = [local.ledger_account]
  ledger_bus_arn          = module.guard.member_bus_arn
  guard_role_arn          = module.guard.guard_role_arn
  responder_role          = local.responder_role
}
