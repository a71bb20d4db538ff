# One account, monitored: keys are judged, recorded and reported, and nothing is changed.
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
}

output "ledger" {
  value = module.guard.ledger_name
}
