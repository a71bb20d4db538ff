"""The golden items of the version that is released."""
import json
import sys


def items(folder, version):
    """The file of a release. The tests hold it against what this version writes (tests/it/reading/golden.rs)."""
    path = folder / f"{version}.json"
    if not path.exists():
        sys.exit(f"infra/release: {path.name} is missing in tests/golden: the test reading::golden writes it to target/golden.json")
    content = path.read_bytes()
    if missing := {"items", "export", "words"} - json.loads(content).keys():
        sys.exit(f"infra/release: tests/golden/{path.name} has no {', '.join(sorted(missing))}")
    return {f"bedrock-key-guard-golden-items-{version}.json": content}
