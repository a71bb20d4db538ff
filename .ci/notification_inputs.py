"""What the state machine of infra/notifications.asl.yaml is run on, by .ci/notifications: reports of every event under three
policies, as the guard and its ledger have them; sweeps; and changes to the guard's own resources.
"""
import json
import re
from pathlib import Path

import sample_ledger
import tampering
from sample_ledger import ROOT, SINCE, guard

FIELDS = re.search(r"FIELDS: \[&'static str; \d+\] = \[(.*?)\]", (ROOT / "src/core/report.rs").read_text(), re.S)
FIELDS = re.findall(r'"(\w+)"', FIELDS[1])
# Three policies, so that every verdict and response occurs.
POLICIES = {
    "short": '[default]\nservices = "*"\nmax_lifetime_days = 90\nresponse = "quarantine"\ngrace_days = 14\n'
             '[[exemption]]\naccount = "111122223333"\nuser = "svc-chatbot"\nreason = "SEC-1: no STS"\nuntil = 2099-12-31\n',
    "none": '[default]\nservices = ["bedrock.amazonaws.com"]\nmax_lifetime_days = 0\nresponse = "deactivate"\n',
    "watch": '[default]\nservices = ["bedrock.amazonaws.com"]\nmax_lifetime_days = 90\nresponse = "monitor"\n',
}


def variants(name):
    """The values of an enum of ours, as reports have them."""
    sources = "".join(path.read_text() for path in (ROOT / "src/core").rglob("*.rs"))
    [body] = re.findall(rf"^pub enum {name} {{(.*?)^}}", sources, re.S | re.M)
    return {re.sub(r"(?<!^)(?=[A-Z])", "_", one).lower() for one in re.findall(r"^    (\w+),", body, re.M)}


def replayed(folder):
    """The reports of every event in events/, under each policy."""
    paths = sorted(path for path in (ROOT / "events").glob("*.json") if not path.name.startswith(("not-ours-", "ignored-")))
    for name, policy in POLICIES.items():
        Path(folder, f"{name}.toml").write_text(policy)
        lines = guard(folder, "replay", "--ledger", f"file:{name}.db", "--policy", f"{name}.toml", "--format", "jsonl",
                      *map(str, paths)).splitlines()
        reports = [json.loads(line) for line in lines]
        assert len(reports) == len(paths), f"{len(reports)} reports of {len(paths)} events"
        yield from reports


def acted_on(report):
    """A dry run's report as the function returns it, once for each thing that may have become of the key."""
    remediation = report["remediation"] and report["remediation"].replace("This is a dry run: nothing happens to the key. ", "")
    real = dict(report, reason=report["reason"].split(" This is a dry run")[0], remediation=remediation)
    yield real
    if report["verdict"] not in ("noncompliant", "undetermined"):
        return
    for outcome, status in (("deleted", "gone"), ("gone", "gone"), ("already_gone", "gone"), ("deactivated", "inactive"),
                            ("already_inactive", "inactive"), ("already_inactive", "expired"), ("monitored", "active")):
        yield dict(real, outcome=outcome, status=status, severity="low")
    if report["verdict"] == "noncompliant":
        yield dict(real, violation="reactivated", severity="critical")


def recorded(folder):
    """The state of each key of a ledger, as a report, and its finding as the command line writes it."""
    rows = [json.loads(line) for line in guard(folder, "lookup", "--limit", "all", *SINCE, "--format", "jsonl").splitlines()]
    findings = json.loads(guard(folder, "lookup", "--limit", "all", *SINCE, "--format", "asff"))
    pairs = zip(rows, findings, strict=True)
    return [({name: row[name] for name in FIELDS}, finding) for row, finding in pairs if row["line"] == "state"]


SWEEP = {
    "started": "2026-11-28T06:00:00Z", "completed": True, "accounts": 12, "accounts_completed": 12, "accounts_failed": 0,
    "keys": 340, "failed": 0, "noncompliant": 4, "undetermined": 1, "deactivated": 2, "deleted": 1, "new": 2, "changed": 1,
    "ended": 0, "downgraded": 0, "left_to_resume": 0, "unreported": 0,
}
LISTS = {
    "open": {"account": "111122223333", "user": "svc-chatbot", "credential_id": "ACCAEXAMPLEKEY0000001",
             "service": "bedrock.amazonaws.com", "violation": "never_expires", "status": "active",
             "since": "2026-11-20T09:07:11Z"},
    "ending": {"account": "111122223333", "user": "vendor-integration", "credential_id": None, "what": "exemption",
               "at": "2026-12-05T00:00:00Z"},
    "quarantined": {"account": "444455556666", "user": "svc-search", "credential_id": "ACCAEXAMPLEKEY0000003",
                    "until": "2026-12-04T12:28:19Z"},
    "silent_accounts": {"account": "777788889999", "last_heard": "2026-11-27T02:00:00Z"},
}


def count_name(name):
    return "silent_count" if name == "silent_accounts" else f"{name}_count"


def sweep(unreported=0, counts=None, shown=None):
    """The response of a sweep that has come to its end; `counts` by list; each list has `shown` entries at most."""
    response = {"sweep": dict(SWEEP, unreported=unreported), "publications": {}, "continue": None}
    if counts is not None:
        response["digest"] = {}
        for name, one in LISTS.items():
            count = counts.get(name, 0)
            response["digest"] |= {name: [one] * min(count, shown or 100), count_name(name): count}
    return response


UNREAD = sweep(counts={"open": 1})
UNREAD["digest"] |= {"silent_accounts": None, "silent_count": None}


def see(page):
    return f"See https://github.com/OWNER/bedrock-key-guard/blob/main/docs/findings/{page}.md for more."


def gather(folder):
    replays = list(replayed(folder))
    pairs = recorded(sample_ledger.made())
    reports = [real for report in replays for real in acted_on(report)] + [report for report, _ in pairs]
    for name in ("Verdict", "Violation", "Response", "Severity", "Outcome", "Status"):
        missing = variants(name) - {report[name.lower()] for report in reports}
        assert not missing, f"{name}: no report has {missing}"
    # An account that has fallen silent: a report that names nobody else.
    reports.append(dict.fromkeys(FIELDS) | {
        "account": "777788889999", "severity": "high", "status": "unknown", "response": "none", "outcome": "ignored",
        "reason": "No heartbeat has arrived from account 777788889999 since 2026-11-27T02:00:00Z. It comes every hour.",
        "remediation": "Check in account 777788889999 that a trail logs management events (write). Run `bedrock-key-guard doctor`. "
                       + see("silent_account"),
    })
    # An event that was given up after 14 days (GiveUp in infra/template.yaml), and one that names nobody.
    given_up = dict.fromkeys(FIELDS) | {
        "severity": "critical", "status": "unknown", "response": "none", "outcome": "ignored",
        "reason": "The guard gave up an event (CreateServiceSpecificCredential). It failed for 14 days, or has no time that can be "
                  "read. The guard did not deal with the key that it is about.",
        "remediation": "Find the keys that exist, and whether one of them is noncompliant: `bedrock-key-guard sweep --ledger "
                       "dynamodb:bedrock-key-guard --policy infra/policy.toml`. The function's log says why it failed: remove the "
                       "cause. " + see("given_up"),
    }
    # IAM lets the name of a user end in a full stop, which ends no sentence of a command.
    reports += [given_up, given_up | {
        "account": "111122223333", "user": "svc-legacy.", "service": "bedrock.amazonaws.com", "event_time": "2026-11-10T10:00:00Z",
        "credential_id": "ACCAEXAMPLEKEY0000077", "remediation": "Look at it. Delete it: `aws iam delete-service-specific-credential "
        "--user-name svc-legacy. --service-specific-credential-id ACCAEXAMPLEKEY0000077`. Ask somebody. " + see("given_up"),
    }]
    changes = tampering.matched("ledger") + tampering.matched("member")
    return {"reports": reports, "recorded": pairs, "tampering": [one["detail"] for one in changes]}
