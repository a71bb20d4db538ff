# One account, enforced: events delete noncompliant keys, and sweeps deactivate them. Begin with the example monitor.
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.0, < 7.0"
    }
  }
}

provider "aws" {
  region = "us-east-1"
}

# The folder of the release, in a bucket of yours: docs/deploy.md says how it gets there.
locals {
  release = "https://example-key-guard-releases.s3.us-east-1.amazonaws.com/bedrock-key-guard/0.1.0"
}

module "guard" {
  source = "../../stack"

  template_url       = "${local.release}/template.json"
  code_bucket        = "example-key-guard-releases"
  notification_email = "security@example.com"
  contact            = "https://security.example.com/bedrock-keys"
  ceiling            = "delete"
  sweep_ceiling      = "deactivate"
  # The policy is in the ledger: bedrock-key-guard policy push, before this is applied.
  policy_source = "ledger"
  services      = ["bedrock.amazonaws.com", "logs.amazonaws.com"]
}
