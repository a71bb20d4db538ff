"""Checks the `aws …` commands of a text against botocore's models of AWS's services, for .ci/notifications.

A command is a line of a shell block, with the lines that continue it, or stands in backticks. So does an option in backticks
that a sentence has somebody add `to` operations of CloudFormation. Whether values are right is not checked.
"""
import re
import shlex

import botocore.session
from botocore import xform_name

# Options of every command, and those of commands that the AWS CLI has beside the services' operations (AWS CLI command
# reference: aws, cloudformation deploy, s3 sync, sso login, logs tail, cloudtrail validate-logs).
GLOBAL = {"ca-bundle", "cli-binary-format", "cli-connect-timeout", "cli-input-json", "cli-read-timeout", "debug", "endpoint-url",
          "generate-cli-skeleton", "no-paginate", "no-sign-request", "no-verify-ssl", "output", "profile", "query", "region",
          "page-size", "max-items", "starting-token"}
CUSTOM = {("cloudformation", "deploy"): {"stack-name", "template-file", "capabilities", "parameter-overrides", "tags",
                                         "no-execute-changeset", "no-fail-on-empty-changeset", "role-arn", "s3-bucket"},
          ("s3", "sync"): set(), ("sso", "login"): set(), ("logs", "tail"): {"since", "format"},
          ("cloudtrail", "validate-logs"): {"trail-arn", "start-time", "end-time", "s3-bucket", "s3-prefix"}}
# What the AWS CLI calls otherwise than the service does: that name would be one of its own options (awscli,
# customizations/argrename.py).
RENAMED = {("sns", "subscribe"): {"endpoint": "notification-endpoint"}}
# How many words of a command belong to no option: the file that an operation writes; from where and to where.
POSITIONAL = {("lambda", "invoke"): 1, ("s3", "sync"): 2}
# Where a sentence leaves options out.
ELLIPSIS = "…"


def commands(text):
    """Each command of a text, without the prompt and the comment."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, re.S | re.M)
    for line in re.sub(r"\\\n\s*", " ", "".join(blocks)).splitlines():
        if line.strip().startswith("aws "):
            yield line.strip()
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.S | re.M)
    yield from (" ".join(one.split()) for one in re.findall(r"`(aws\s[^`]+)`", prose))


def added(text):
    """Options that a sentence adds, each with an operation that it is added to."""
    for option, operations in re.findall(r"add\s+`--([a-z-]+)[^`]*`\s+to\s+((?:`[a-z-]+`(?:,\s+|\s+and\s+)?)+)", text):
        yield from ((option, operation) for operation in re.findall(r"`([a-z-]+)`", operations))


def options_of(session, service, name):
    """The options of an operation, or nothing where there is none of this name."""
    if (service, name) in CUSTOM:
        return CUSTOM[service, name]
    model = session.get_service_model(service)
    found = [one for one in model.operation_names if xform_name(one, "-") == name]
    if not found:
        return None
    shape = model.operation_model(found[0]).input_shape
    members = shape.members if shape else {}
    renamed = RENAMED.get((service, name), {})
    options = {renamed.get(option, option) for option in (xform_name(member, "-") for member in members)}
    return options | {f"no-{xform_name(member, '-')}" for member, one in members.items() if one.type_name == "boolean"}


def wrong_with(session, command):
    try:
        words = shlex.split(re.split(r" [>|] ", command)[0], comments=True)
    except ValueError as problem:
        return str(problem)
    if len(words) < 3:
        return "no operation"
    _, service, name, *rest = words
    if service not in session.get_available_services():
        return f"there is no service {service}"
    known = options_of(session, service, name)
    if known is None:
        return f"{service} has no {name}"
    positional = 0
    takes_values = False
    for word in rest:
        if word.startswith("--"):
            option = word[2:].split("=")[0]
            if option not in known | GLOBAL:
                return f"{service} {name} has no --{option}"
            takes_values = "=" not in word and not option.startswith("no-")
        elif not takes_values and word != ELLIPSIS:
            positional += 1
    allowed = POSITIONAL.get((service, name), 0)
    return f"{positional} words belong to no option" if positional > allowed else None


def problems(text):
    """What is wrong with the commands of a text."""
    session = botocore.session.get_session()
    found = [f"{command}: {wrong}" for command in commands(text) if (wrong := wrong_with(session, command))]
    for option, operation in added(text):
        known = options_of(session, "cloudformation", operation)
        if known is None or option not in known:
            found.append(f"cloudformation {operation} has no --{option}")
    return found
