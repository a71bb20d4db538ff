"""Where the template of a release finds the function's zip."""
import re
from pathlib import Path

CARGO = Path(__file__).resolve().parent.parent / "Cargo.toml"
VERSION = re.search(r'(?m)^version = "(.+)"$', CARGO.read_text())[1]
# Where it looks in CodeBucket, unless CodeKey says otherwise. Each version has another key, so that an update of the template is
# an update of the function.
PREFIX = f"bedrock-key-guard/{VERSION}"


def code_parameters():
    return {
        "CodeBucket": {
            "Type": "String",
            "AllowedPattern": "^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$",
            "ConstraintDescription": "must be the name of an S3 bucket.",
            "Description": "The bucket with the files of the release, in the region of the stack.",
        },
        "CodeKey": {
            "Type": "String",
            "Default": "",
            "MaxLength": 1024,
            "Description": "The key of the function's zip in CodeBucket. Empty for that of this version and Architecture, in the folder "
                           "bedrock-key-guard/VERSION of the bucket.",
        },
    }
