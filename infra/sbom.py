"""What is linked into the function and into the command line, as CycloneDX."""
import json
import re
import subprocess
import sys
import uuid
from datetime import datetime, timezone

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

# Of the command line, what any platform has.
BINARIES = {
    "bedrock-key-guard-lambda": ["--no-default-features", "--filter-platform=x86_64-unknown-linux-gnu",
                                 "--filter-platform=aarch64-unknown-linux-gnu"],
    "bedrock-key-guard": [],
}


def output(*command, cwd):
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=cwd).stdout


def checksums(root):
    package = re.compile(r'name = "(.+)"\nversion = "(.+)"\nsource = ".+"\nchecksum = "(.+)"')
    return {(name, version): checksum for name, version, checksum in package.findall((root / "Cargo.lock").read_text())}


def linked(metadata):
    """The packages that are linked into ours, and what each needs. What only a build or a test needs is not among them."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    needs, waiting = {}, [metadata["resolve"]["root"]]
    while waiting:
        if (package := waiting.pop()) in needs:
            continue
        dependencies = [one["pkg"] for one in nodes[package]["deps"] if any(kind["kind"] is None for kind in one["dep_kinds"])]
        needs[package] = dependencies
        waiting += dependencies
    # A procedural macro runs in the compiler.
    macros = {one["id"] for one in metadata["packages"] if any("proc-macro" in target["kind"] for target in one["targets"])}
    return {package: [one for one in needed if one not in macros] for package, needed in needs.items() if package not in macros}


def reached(needs, root):
    """Without what only a procedural macro needs."""
    found, waiting = set(), [root]
    while waiting:
        if (package := waiting.pop()) not in found:
            found.add(package)
            waiting += needs[package]
    return found


def component(package, kind, checksum):
    license_ = (package["license"] or "").replace("/", " OR ")
    hashes = [HashType(alg=HashAlgorithm.SHA_256, content=checksum)] if checksum else []
    # What has no checksum is ours, and in no registry.
    purl = PackageURL("cargo", name=package["name"], version=package["version"]) if checksum else None
    reference = f"{package['name']}@{package['version']}"
    return Component(type=kind, name=package["name"], version=package["version"], bom_ref=reference, purl=purl, hashes=hashes,
                     licenses=[LicenseFactory().make_from_string(license_)] if license_ else [])


def bom_of(root, binary, flags, version):
    metadata = json.loads(output("cargo", "metadata", "--locked", "--format-version=1", *flags, cwd=root))
    needs, own, sums = linked(metadata), metadata["resolve"]["root"], checksums(root)
    packages = {one["id"]: one for one in metadata["packages"] if one["id"] in reached(needs, own)}
    components = {
        package: component(one, ComponentType.LIBRARY, sums.get((one["name"], one["version"])))
        for package, one in packages.items()
    }
    components[own] = component({**packages[own], "name": binary}, ComponentType.APPLICATION, None)
    bom = Bom(components=[one for package, one in components.items() if package != own])
    bom.metadata.component = components[own]
    for package, one in components.items():
        bom.register_dependency(one, [components[needed] for needed in needs[package]])
    # The same for the same commit.
    bom.metadata.timestamp = datetime.fromtimestamp(int(output("git", "log", "-1", "--format=%ct", cwd=root)), timezone.utc)
    content = "\n".join(sorted(f"{one.bom_ref} {sorted(str(of.content) for of in one.hashes)}" for one in components.values()))
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, f"{binary} {version}\n{content}")
    text = JsonV1Dot6(bom).output_as_string(indent=1)
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        sys.exit(f"infra/release: the SBOM of {binary} is not valid: {error}")
    return text + "\n"


def both(root, version):
    return {f"{binary}-{version}.cdx.json": bom_of(root, binary, flags, version).encode() for binary, flags in BINARIES.items()}
