"""A ledger with keys of every verdict and outcome, and with texts of people who mean harm, for the checks beside it."""
import json
import subprocess
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GUARD = ROOT / "target" / "debug" / "bedrock-key-guard"
SINCE = ["--since", "2026-11-01", "--until", "2026-12-31"]
HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">\u001b]0;owned\u0007=cmd()"
RANKS = {"open": 0, "recorded": 10, "monitored": 20, "already_inactive": 30, "already_gone": 40, "deactivated": 50, "deleted": 60}


def guard(folder, *arguments):
    """Runs the command line; answers with its stdout."""
    ran = subprocess.run([GUARD, *arguments], cwd=folder, capture_output=True, text=True)
    assert ran.returncode == 0, f"{arguments}: exit code {ran.returncode}\n{ran.stderr}"
    return ran.stdout


def later(state, seconds):
    time = datetime.fromisoformat(state["event_time"].replace("Z", "+00:00")) + timedelta(seconds=seconds)
    return time.isoformat().replace("+00:00", "Z")


def made():
    """The folder of a new ledger, key-guard.db."""
    assert GUARD.exists(), f"needs {GUARD}: run cargo build"
    folder = Path(tempfile.mkdtemp(prefix="key-guard-"))
    guard(folder, "replay", str(ROOT / "events"))
    states = [json.loads(line) for line in guard(folder, "export").splitlines()]
    states = [state for state in states if state["sk"] == "STATE"]
    number, lines = 0, []
    for state in states:
        for outcome, rank in RANKS.items():
            number += 1
            day = f"2026-11-{1 + number**2 % 23:02}"
            is_open = outcome == "open"
            state = state | {name: day + state[name][10:] for name in ("event_time", "created_at")}
            key = dict(state, credential_id=f"ACCASAMPLE{number:011}", outcome=outcome, outcome_rank=rank,
                       source="event", rehearsal=False, plan="confirm", event_id=f"sample-{number}",
                       recorded_at=later(state, 3), settled_at=later(state, 5 + number**2 % 900))
            if number % 5 == 0:
                key.update(actor=f"arn:aws:sts::111122223333:assumed-role/<b>role&/{HOSTILE}", user_agent=HOSTILE, source_ip=HOSTILE)
            if number % 7 == 0:
                key.update(verdict="exempt", violation=None)
            if is_open:
                del key["settled_at"]
            line = dict(key, sk=f"AT#{key['event_time']}#{key['event_id']}", kind="judged", at=key["event_time"])
            lines += [line, key]
    (folder / "sample.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    guard(folder, "import", "sample.jsonl")
    return folder
