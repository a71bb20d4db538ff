"""What CloudFormation makes of a SAM template."""
import copy
import json
import os

from samtranslator.translator.transform import transform


class NoManagedPolicies:
    def load(self):
        return {}


def expand(template, load):
    """The template without a transform; where there is an intrinsic function, it stays. State machines are within it: `load`
    reads the file of one."""
    template = copy.deepcopy(template)
    if "Transform" not in template:
        return template
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    machines = {}
    for name, resource in template["Resources"].items():
        properties = resource["Properties"]
        if "CodeUri" in properties:
            properties["CodeUri"] = "s3://bucket/key"
        if "DefinitionUri" in properties:
            machines[name], properties["DefinitionUri"] = properties["DefinitionUri"], "s3://bucket/key"
    expanded = transform(template, {}, NoManagedPolicies())
    for name, machine in machines.items():
        properties = expanded["Resources"][name]["Properties"]
        del properties["DefinitionS3Location"]
        properties["Definition"] = json.loads(json.dumps(machine if isinstance(machine, dict) else load(machine)))
    return expanded
