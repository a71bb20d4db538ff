"""A ledger with keys of every verdict and phase, and with texts of people who mean harm, for the checks beside it."""
import json
import subprocess
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GUARD = ROOT / "target" / "debug" / "bedrock-key-guard"
SINCE = ["--since", "2026-11-01", "--until", "2026-12-31"]
# For keys that the ledger has: one exemption ends soon, whenever the checks run.
POLICY = f"""[default]
services = ["bedrock.amazonaws.com"]
max_lifetime_days = 90
response = "delete"

[[exemption]]
account = "111122223333"
user = "svc-chatbot"
reason = "SEC-1: until it has a role"
until = {(datetime.now(timezone.utc) + timedelta(days=10)).date()}
"""
HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\u001b]0;owned\u0007=cmd()"


def guard(folder, *arguments):
    """Runs the command line, and returns its stdout."""
    ran = subprocess.run([GUARD, *arguments], cwd=folder, capture_output=True, text=True)
    assert ran.returncode == 0, f"{arguments}: exit code {ran.returncode}\n{ran.stderr}"
    return ran.stdout


def after(time, seconds):
    time = datetime.fromisoformat(time.replace("Z", "+00:00")) + timedelta(seconds=seconds)
    return time.isoformat().replace("+00:00", "Z")


def phases(created, number):
    """Every phase of a key, with the end of what happens in it."""
    end = after(created, 5 + number**2 % 900)
    intent = {"opened_by": "worker", "authorised_at": end, "action": "delete", "trigger": {"kind": "created", "at": created},
              "lease": {"holder": "worker", "until": after(end, 45)}}
    return end, [
        {"phase": "settled"},
        {"phase": "pending", "intent": intent},
        {"phase": "deactivated", "deactivation": {"at": end}, "delete_after": after(end, 14 * 86_400)},
        {"phase": "inactive", "inactive_cause": "deactivated"},
        {"phase": "gone", "gone": {"evidence": "absent", "at": end}},
        {"phase": "gone", "gone": {"evidence": "deleted_by_guard", "at": end}},
    ]


def made():
    """The folder of a new ledger, key-guard.db."""
    assert GUARD.exists(), f"needs {GUARD}: run cargo build"
    folder = Path(tempfile.mkdtemp(prefix="key-guard-"))
    guard(folder, "replay", str(ROOT / "events"))
    dry_runs = [json.loads(line) for line in guard(folder, "export").splitlines()]
    number, lines = 0, []
    for dry_run in (item for item in dry_runs if item["kind"] == "dry_run"):
        for index in range(6):
            number += 1
            created = f"2026-11-{1 + number**2 % 23:02}{dry_run['creation']['at'][10:]}"
            end, every_phase = phases(created, number)
            facts = {name: dry_run[name] for name in ("v", "account", "user", "service", "evidence", "assessment", "policy")}
            event = dict(dry_run["creation"], id=f"sample-{number}", at=created)
            if number % 5 == 0:
                # A session would say more than the principal does.
                event.pop("session", None)
                principal = f"arn:aws:sts::111122223333:assumed-role/<b>role&/{HOSTILE}"
                event.update(principal=principal, user_agent=HOSTILE, source_ip=HOSTILE)
            if number % 7 == 0:
                exempt = {"exempt": {"reason": "SEC-1", "until": "2027-03-31"}}
                facts["assessment"] = dict(facts["assessment"], verdict=exempt)
            key = {"account": facts["account"], "credential_id": f"ACCASAMPLE{number:011}"}
            lines += [
                {"v": facts["v"], "kind": "log", **key, "at": end, "cause": "event", "event_kind": "created", "event": event,
                 "change": "assessed"},
                {**facts, **key, "kind": "record", "created_at": created, "creation": event, "assessed": end,
                 "seen": {"status": "active", "at": created},
                 **every_phase[index]},
            ]
    (folder / "sample.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    guard(folder, "import", "sample.jsonl")
    return folder
