"""Makes what a release has. infra/release runs it, in an environment of infra/release.txt."""
import argparse
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import yaml
from samtranslator.yaml_helper import yaml_parse

import golden
import sam
import sbom
from code_parameters import PREFIX, VERSION, code_parameters

ROOT = Path(__file__).resolve().parent.parent
INFRA, PACKAGE = ROOT / "infra", ROOT / "target" / "package"
# The machine in an ELF header.
ARCHITECTURES = {"arm64": 183, "x86_64": 62}


def zip_of(files):
    """The same bytes for the same files, whenever and wherever it is made."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as zipped:
        for name, content, mode in files:
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr, entry.compress_type = 3, (0o100000 | mode) << 16, zipfile.ZIP_DEFLATED
            zipped.writestr(entry, content)
    return buffer.getvalue()


def zip_name(architecture):
    return f"bedrock-key-guard-lambda-{VERSION}-{architecture}.zip"


def packaged():
    """The architecture of target/package, and its zip."""
    bootstrap = (PACKAGE / "bootstrap").read_bytes() if (PACKAGE / "bootstrap").exists() else b""
    for architecture, machine in ARCHITECTURES.items():
        if bootstrap[18:20] == machine.to_bytes(2, "little"):
            policy = (PACKAGE / "policy.toml").read_bytes()
            return zip_name(architecture), zip_of([("bootstrap", bootstrap, 0o755), ("policy.toml", policy, 0o644)])
    sys.exit("infra/release: target/package has no function; run infra/package")


def own_architecture():
    """The one that this machine builds for by itself."""
    if sys.platform == "linux":
        return {"aarch64": "arm64", "x86_64": "x86_64"}.get(platform.machine())


def functions(arguments):
    if arguments.packaged:
        return [packaged()]
    architectures = arguments.architectures or list(ARCHITECTURES)
    if set(architectures) - {own_architecture()}:
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--requirement", INFRA / "cross.txt"], check=True)
    made = []
    for architecture in architectures:
        subprocess.run([INFRA / "package", architecture], check=True)
        made.append(packaged())
    return made


def template():
    """template.yaml as CloudFormation takes it from a URL. The code is where two parameters say."""
    source = yaml_parse((INFRA / "template.yaml").read_text())
    expanded = sam.expand(source, lambda name: yaml.safe_load((INFRA / name).read_text()))
    expanded["Parameters"] |= code_parameters()
    interface = expanded["Metadata"]["AWS::CloudFormation::Interface"]
    next(group for group in interface["ParameterGroups"] if "Architecture" in group["Parameters"])["Parameters"][:0] = list(code_parameters())
    interface["ParameterLabels"] |= {"CodeBucket": {"default": "Bucket of the release"}, "CodeKey": {"default": "Key of the function's zip"}}
    expanded["Conditions"]["OwnCodeKey"] = {"Fn::Not": [{"Fn::Equals": [{"Ref": "CodeKey"}, ""]}]}
    for name, resource in expanded["Resources"].items():
        properties = resource["Properties"]
        if resource["Type"] == "AWS::Lambda::Function":
            released = {"Fn::Sub": f"{PREFIX}/{zip_name('${Architecture}')}"}
            key = {"Fn::If": ["OwnCodeKey", {"Ref": "CodeKey"}, released]}
            properties["Code"] = {"S3Bucket": {"Ref": "CodeBucket"}, "S3Key": key}
        if source["Resources"].get(name, {}).get("Type") == "AWS::Serverless::StateMachine":
            # As a text, so that numbers and booleans stay what they are.
            properties["DefinitionString"] = json.dumps(properties.pop("Definition"), separators=(",", ":"))
        # What only SAM adds.
        properties["Tags"] = [tag for tag in properties.get("Tags", []) if tag.get("Value") != "SAM"]
        if not properties["Tags"]:
            del properties["Tags"]
    text = json.dumps(expanded, indent=1) + "\n"
    if "AWS::Serverless" in text or "s3://bucket" in text:
        sys.exit("infra/release: template.yaml has a part that AWS SAM does not expand here")
    return text


def terraform():
    """The modules and their examples, without what Terraform leaves behind."""
    folder = INFRA / "terraform"
    files = [path for path in sorted(folder.rglob("*")) if path.suffix in (".tf", ".md")]
    return zip_of([(path.relative_to(folder).as_posix(), path.read_bytes(), 0o644) for path in files if ".terraform" not in path.parts])


def machine_paths():
    """What this machine's paths begin with."""
    home = os.path.expanduser("~")
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()
    return {f"{path.rstrip('/')}/".encode() for path in (str(ROOT), home, os.environ.get("CARGO_HOME", f"{home}/.cargo"), sysroot)}


def contents(name, content):
    """A file, and those in it where it is a zip."""
    yield name, content
    if name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(content)) as zipped:
            for inner in zipped.namelist():
                yield f"{name}: {inner}", zipped.read(inner)


def main():
    parser = argparse.ArgumentParser(prog="infra/release")
    parser.add_argument("--into", type=Path, default=ROOT / "target" / "release-artifacts", metavar="FOLDER")
    parser.add_argument("--packaged", action="store_true", help="do not build: take what infra/package has left in target/package")
    parser.add_argument("architectures", nargs="*", metavar="ARCHITECTURE", help="arm64, x86_64; both where none is given")
    arguments = parser.parse_args()
    if unknown := set(arguments.architectures) - set(ARCHITECTURES):
        parser.error(f"unknown architecture {', '.join(sorted(unknown))}; expected arm64 or x86_64")

    files = dict(functions(arguments))
    files["template.json"] = template().encode()
    files["member.yaml"] = (INFRA / "member.yaml").read_bytes()
    files["policy.toml"] = (INFRA / "policy.toml").read_bytes()
    files[f"bedrock-key-guard-terraform-{VERSION}.zip"] = terraform()
    files |= sbom.both(ROOT, VERSION)
    files |= golden.items(ROOT / "tests" / "golden", VERSION)

    paths = machine_paths()
    found = [f"{inner} has {path.decode()}" for name, content in files.items() for inner, bytes_ in contents(name, content)
             for path in sorted(paths) if path in bytes_]
    if found:
        sys.exit("infra/release: paths of this machine:\n" + "\n".join(found))

    folder = arguments.into
    if folder.exists():
        if any(folder.iterdir()) and not (folder / "SHA256SUMS").exists():
            sys.exit(f"infra/release: {folder} is not empty, and no release; give another folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    sums = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    (folder / "SHA256SUMS").write_text(sums)
    print(f"{folder}: {len(files) + 1} files of version {VERSION}", file=sys.stderr)
    if missing := [one for one in ARCHITECTURES if zip_name(one) not in files]:
        print(f"without the function for {', '.join(missing)}", file=sys.stderr)


main()
