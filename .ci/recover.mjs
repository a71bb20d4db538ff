#!/usr/bin/env node
// The state machine that brings failed events back: what it does with each kind of message, and that no break of it passes.
//
//     .ci/recover.mjs EXPANDED_TEMPLATE
//
// EXPANDED_TEMPLATE is what `.ci/templates --expand infra/template.yaml` writes.
import { readFileSync, readdirSync } from "node:fs";
import { StateError, run, substitute } from "./state_machine.mjs";

const ROOT = new URL("../", import.meta.url);
const read = (path) => readFileSync(new URL(path, ROOT), "utf8");
const EVENTS = readdirSync(new URL("events/", ROOT)).map((name) => [name, JSON.parse(read(`events/${name}`))]);
const [, CREATED] = EVENTS.find(([name]) => name === "created-without-age.json");
const DAY = 24 * 3600 * 1000;
const [RECEIVE, DELETE] = ["receiveMessage", "deleteMessage"].map((call) => `states:::aws-sdk:sqs:${call}`);
const LAMBDA = "states:::lambda:invoke";
const QUEUE = "https://sqs.us-east-1.amazonaws.com/111122223333/failed";
const BUS = "states:::events:putEvents";
const NAMES = {
    "AWS::Partition": "aws", Guard: "arn:aws:lambda:us-east-1:111122223333:function:guard", Reports: "reports", Table: "table",
    Account: "111122223333",
};
// The fields of a report, as the guard writes them.
const REPORT_FIELDS = read("src/core/report.rs").match(/FIELDS: \[&'static str; \d+\] = \[([^\]]+)\]/)[1].match(/\w+/g);
const REST = { sweep: { checkpoint: { accounts: ["444455556666"] }, started: "2026-11-20T09:00:00.123456789Z", invocations: 3 } };

/** What Lambda sends to an on-failure destination (Lambda developer guide, Capturing records of Lambda asynchronous invocations). */
function failed(payload) {
    return JSON.stringify({
        version: "1.0", timestamp: "2026-11-20T09:00:00.000Z",
        requestContext: {
            requestId: "11111111-2222-3333-4444-555555555555", functionArn: `${NAMES.Guard}:$LATEST`,
            condition: "RetriesExhausted", approximateInvokeCount: 3,
        },
        requestPayload: payload,
        responseContext: { statusCode: 200, executedVersion: "$LATEST", functionError: "Unhandled" },
        responsePayload: { errorType: "Throttling", errorMessage: "IAM" },
    });
}

/** What Lambda sends to an on-success destination on a bus: the dead letter of the rule SweepContinues is all of it. */
function returned(response) {
    const { requestContext } = JSON.parse(failed({}));
    return JSON.stringify({
        version: "0", id: "11111111-2222-3333-4444-555555555555", "detail-type": "Lambda Function Invocation Result - Success",
        source: "lambda", account: "111122223333", time: "2026-11-20T09:15:00Z", region: "us-east-1", resources: [],
        detail: { version: "1.0", requestContext, requestPayload: { sweep: {} }, responsePayload: response },
    });
}

/** A queue with these bodies, as the SDK's calls have it. */
function queueOf(bodies) {
    const messages = bodies.map((Body, index) => ({ MessageId: `${index}`, ReceiptHandle: `receipt-${index}`, Body }));
    let received = 0;
    return {
        left: messages,
        [RECEIVE]: ({ QueueUrl, MaxNumberOfMessages, WaitTimeSeconds }) => {
            if (QueueUrl !== QUEUE || MaxNumberOfMessages !== 1 || WaitTimeSeconds !== 1) throw new Error("another receiveMessage");
            const message = messages.find(({ MessageId }) => Number(MessageId) >= received);
            received++;
            return message ? { Messages: [message] } : {};
        },
        [DELETE]: ({ QueueUrl, ReceiptHandle }) => {
            const index = messages.findIndex((message) => message.ReceiptHandle === ReceiptHandle);
            if (QueueUrl !== QUEUE || index < 0) throw new Error("another deleteMessage");
            messages.splice(index, 1);
        },
    };
}

const later = (time, milliseconds) => new Date(Date.parse(time) + milliseconds).toISOString();

/** What is wrong with a definition: nothing, if it is the right one. */
async function problems(definition) {
    const found = [];
    const expect = (what, holds) => holds || found.push(what);
    const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
    const tasks = { [LAMBDA]: () => ({ StatusCode: 202 }), [BUS]: () => ({ FailedEntryCount: 0 }) };
    const recover = async (bodies, now, more = {}, started = now) => {
        const queue = queueOf([bodies].flat());
        const execution = await run(definition, { input: { queue: QUEUE }, now, started, tasks: { ...tasks, ...queue, ...more } });
        const calls = execution.calls.filter(({ resource }) => resource !== RECEIVE && resource !== DELETE);
        return { ...execution, calls, left: queue.left };
    };
    const succeeded = (execution) => execution.status === "SUCCEEDED" && execution.left.length === 0;
    const failedAndKept = (execution) => execution.status === "FAILED" && execution.left.length === 1;
    const invocation = (payload) =>
        ({ resource: LAMBDA, arguments: { FunctionName: NAMES.Guard, InvocationType: "Event", Payload: payload } });
    const invoked = (execution, payload) => succeeded(execution) && same(execution.calls, [invocation(payload)]);

    // The event comes out as it was first delivered, however often.
    for (const [name, event] of EVENTS) {
        let payload = event;
        for (let round = 1; round <= 3; round++) {
            const execution = await recover(failed(payload), later(event.detail.eventTime, round * 20 * 60 * 1000));
            expect(`${name}: round ${round}: ${execution.error ?? "not the event"}`, invoked(execution, event));
            payload = execution.calls[0]?.arguments?.Payload ?? {};
        }
        expect(`${name}: undelivered`, invoked(await recover(JSON.stringify(event), event.time), event));
    }
    // An event that has fields like those of a record stays what it is.
    const odd = { ...CREATED, detail: { ...CREATED.detail, requestPayload: { sweep: {} }, lists: [[1], [], [null]] } };
    expect("odd", invoked(await recover(failed(odd), odd.time), odd));
    const untold = { ...CREATED, detail: {} };
    expect("no eventTime", invoked(await recover(failed(untold), untold.time), untold));
    // A queue or a stream has wrapped it, and Lambda was invoked asynchronously all the same.
    const wrapped = { Records: [{ body: JSON.stringify(CREATED) }] };
    expect("wrapped", invoked(await recover(failed(wrapped), later(CREATED.detail.eventTime, 3600 * 1000)), wrapped));
    expect("rest of a sweep", invoked(await recover(failed(REST), "2026-11-20T10:00:00Z"), REST));
    const response = returned({ sweep: { keys: 5 }, publications: {}, continue: REST });
    expect("rest of a sweep, undelivered", invoked(await recover(response, "2026-11-20T10:00:00Z"), REST));

    // What is not taken in time is left to the next execution.
    const late = (seconds) => recover(failed(CREATED), later(CREATED.detail.eventTime, seconds * 1000), {}, CREATED.detail.eventTime);
    expect("199 s", invoked(await late(199), CREATED));
    const ended = await late(200);
    expect("200 s", ended.status === "SUCCEEDED" && ended.left.length === 1 && ended.calls.length === 0);
    const tasksOf = Object.values(definition.States).filter(({ Type }) => Type === "Task");
    const longest = tasksOf.reduce((sum, { TimeoutSeconds }) => sum + TimeoutSeconds, 0);
    expect(`it hangs for ${longest} s`, longest + 200 < definition.TimeoutSeconds && definition.TimeoutSeconds < 300);

    // The schedules do these again.
    for (const request of [{ sweep: { accounts: ["444455556666"] } }, { sweep: { accounts: "heard" } }, { sweep: {} }, { resume: {} }]) {
        for (const body of [failed(request), JSON.stringify(request)]) {
            const execution = await recover(body, "2026-11-20T10:00:00Z");
            expect(`ends: ${body}`, succeeded(execution) && execution.calls.length === 0);
        }
    }

    // Until 14 days are over.
    const { eventTime } = CREATED.detail;
    expect("13 days", invoked(await recover(failed(CREATED), later(eventTime, 14 * DAY - 1000)), CREATED));
    const old = await recover(failed(CREATED), later(eventTime, 14 * DAY));
    const entry = old.calls[0]?.arguments?.Entries?.[0] ?? {};
    expect("given up", succeeded(old) && same(old.calls.map((call) => call.resource), [BUS]));
    expect("published as a report", entry.Source === "bedrock-key-guard" && entry.DetailType === "Bedrock Key Guard report"
        && entry.EventBusName === NAMES.Reports);
    const report = entry.Detail ?? {};
    expect(`fields: ${Object.keys(report)}`, same(Object.keys(report), REPORT_FIELDS));
    const { requestParameters, responseElements, userIdentity } = CREATED.detail;
    const expected = {
        account: CREATED.detail.recipientAccountId, service: requestParameters.serviceName, user: requestParameters.userName,
        credential_id: responseElements.serviceSpecificCredential.serviceSpecificCredentialId, verdict: null,
        severity: "critical", status: "unknown", response: "none", outcome: "ignored", actor: userIdentity.arn,
        source_ip: CREATED.detail.sourceIPAddress, event_id: CREATED.detail.eventID, event_time: eventTime,
    };
    for (const [field, value] of Object.entries(expected)) expect(`${field}: ${report[field]}`, same(report[field], value));
    expect(`reason: ${report.reason}`, /CreateServiceSpecificCredential.* 14 days/.test(report.reason));
    const secret = responseElements.serviceSpecificCredential.serviceCredentialSecret ?? "serviceCredentialSecret";
    expect("no secret", !JSON.stringify(old.calls).includes(secret));
    const lost = (await recover(failed(REST), "2026-12-20T10:00:00Z")).calls[0]?.arguments?.Entries?.[0]?.Detail;
    expect("rest of a sweep given up", same(Object.keys(lost ?? {}), REPORT_FIELDS) && /rest of a sweep/.test(lost.reason));

    // An event that says whose it is not is of this account.
    const nobodys = (await recover(failed({ detail: {} }), "2026-11-20T10:00:00Z")).calls[0]?.arguments?.Entries?.[0]?.Detail;
    expect(`account: ${nobodys?.account}`, nobodys?.account === NAMES.Account && nobodys.user === null);

    // Nothing without a time goes round for ever.
    for (const payload of [{ detail: {} }, { source: "lambda" }, { time: "yesterday" }, { time: 5 }, {}, [], "text", 42, null, [CREATED]]) {
        const execution = await recover(failed(payload), "2026-11-20T10:00:00Z");
        const is_event = same(payload, [CREATED]);
        expect(`without time: ${JSON.stringify(payload)}: ${execution.error}`,
            is_event || (succeeded(execution) && same(execution.calls.map((call) => call.resource), [BUS])));
    }

    // All that is there, one after the other. The request in the middle ends silently.
    const many = await recover([failed(CREATED), failed({ resume: {} }), JSON.stringify(odd)], eventTime);
    expect("many", succeeded(many) && same(many.calls, [CREATED, odd].map(invocation)));
    expect("none", succeeded(await recover([], eventTime)));
    const nothing = [{ Messages: null }, { Messages: [] }, {}];
    for (const answer of nothing) expect("none", succeeded(await recover([], eventTime, { [RECEIVE]: () => answer })));

    // Where it fails, the message stays in the queue.
    const refuse = () => { throw new StateError("Lambda.TooManyRequestsException", "refused"); };
    expect("refused by Lambda", failedAndKept(await recover(failed(CREATED), eventTime, { [LAMBDA]: refuse })));
    expect("refused by the bus", failedAndKept(await recover(failed(CREATED), later(eventTime, 15 * DAY), { [BUS]: refuse })));
    expect("no JSON", failedAndKept(await recover("{", eventTime)));
    return found;
}

const BREAKS = {
    "the record is handed on": (s) => { s.Read.Assign.payload = "{% $parse($states.input[0].body) %}"; },
    "the record of a success is handed on": (s) => { s.Read.Assign.payload = s.Read.Assign.payload.replace('"lambda"', '"events"'); },
    "an execution that ends with its time": (s) => { s.HasTime.Default = "Receive"; },
    "a call that hangs": (s) => { delete s.Invoke.TimeoutSeconds; },
    "nobody's account": (s) => { s.GiveUp.Arguments.Entries[0].Detail.account = "{% [$payload.account, null][0] %}"; },
    "the event is wrapped": (s) => { s.Invoke.Arguments.Payload = { event: "{% $payload %}" }; },
    "only the detail is handed on": (s) => { s.Invoke.Arguments.Payload = "{% $payload.detail %}"; },
    "the event is a text": (s) => { s.Invoke.Arguments.Payload = "{% $string($payload) %}"; },
    "the function is waited for": (s) => { delete s.Invoke.Arguments.InvocationType; },
    "13 days": (s) => { s.Decide.Choices[1].Condition = s.Decide.Choices[1].Condition.replace("14", "13"); },
    "15 days": (s) => { s.Decide.Choices[1].Condition = s.Decide.Choices[1].Condition.replace("14", "15"); },
    "no end": (s) => { s.Decide.Default = "Invoke"; },
    "the time is not checked": (s) => { s.Decide.Choices[1].Condition = s.Decide.Choices[1].Condition.replace(/\$contains.*\n\s+and/, ""); },
    "requests are handed on": (s) => { s.Decide.Choices.shift(); },
    "resumes are handed on": (s) => { s.Decide.Choices[0].Condition = "{% $exists($payload.sweep[$not($exists(checkpoint))]) %}"; },
    "the rest of a sweep ends": (s) => { s.Decide.Choices[0].Condition = "{% $exists($payload.resume) or $exists($payload.sweep) %}"; },
    "the age of the rest is not known": (s) => { s.Decide.Choices[1].Condition = s.Decide.Choices[1].Condition.replace(", $payload.sweep.started", ""); },
    "the age of what is wrapped is not known": (s) => { s.Decide.Choices[1].Condition = s.Decide.Choices[1].Condition.replace(", $wrapped", ""); },
    "giving up is silent": (s) => { s.Decide.Default = "Delete"; },
    "messages stay": (s) => { s.Invoke.Next = "Receive"; },
    "the first message only": (s) => { s.Delete = { ...s.Delete, End: true, Next: undefined }; },
    "an empty queue is a failure": (s) => { s.Receive.Assign.message = "{% $states.result.Messages[0] %}"; },
    "deleted before it is invoked": (s) => { s.Decide.Choices[1].Next = "Early"; s.Early = { ...s.Delete, Next: "Invoke" }; s.Invoke.Next = "Receive"; },
    "the report lacks a field": (s) => { delete s.GiveUp.Arguments.Entries[0].Detail.limit_days; },
    "the report is another's": (s) => { s.GiveUp.Arguments.Entries[0].Source = "lambda"; },
    "the report has no user": (s) => { s.GiveUp.Arguments.Entries[0].Detail.user = null; },
    "a missing field stops the report": (s) => { s.GiveUp.Arguments.Entries[0].Detail.actor = "{% $payload.detail.userIdentity.arn %}"; },
    "a failure is success": (s) => { s.Invoke.Catch = [{ ErrorEquals: ["States.ALL"], Next: "Delete" }]; },
    "a report that is not taken is success": (s) => { s.GiveUp.Catch = [{ ErrorEquals: ["States.ALL"], Next: "Delete" }]; },
};

const { Definition } = JSON.parse(readFileSync(process.argv[2], "utf8")).Resources.Recover.Properties;
const definition = substitute(Definition, NAMES);
const found = await problems(definition);
if (found.length > 0) {
    console.error(`.ci/recover.mjs: Recover in infra/template.yaml:\n${found.join("\n")}`);
    process.exit(1);
}
for (const [what, change] of Object.entries(BREAKS)) {
    const broken = structuredClone(definition);
    change(broken.States);
    if (JSON.stringify(broken) === JSON.stringify(definition)) throw new Error(`changes nothing: ${what}`);
    if ((await problems(broken)).length === 0) {
        console.error(`.ci/recover.mjs: not found: ${what}`);
        process.exit(1);
    }
}
console.log(`${EVENTS.length} events come back; ${Object.keys(BREAKS).length} breaks put in, each found`);
