// Runs a state machine on many inputs, for .ci/notifications.
//
//     node .ci/cases.mjs < {"definition": …, "cases": [{"input": …, "now": "…", "faults": [{"resource": "sns:publish",
//                           "times": 2, "error": "Some.Error"} or {…, "result": …}]}, …]}
//
// For each case it prints the calls that were made, and how the execution ended.
import { readFileSync } from "node:fs";
import { StateError, run } from "./state_machine.mjs";

/** Every call succeeds, but for the faults. */
function tasksOf(faults) {
    const task = (resource, result) => (given) => {
        const fault = faults.find((one) => one.times > 0 && resource.endsWith(one.resource)
            && (one.topic === undefined || given.TopicArn === one.topic));
        if (!fault) return result;
        fault.times -= 1;
        if (fault.error) throw new StateError(fault.error, "as the test says");
        return fault.result;
    };
    const tasks = {
        "states:::sns:publish": {},
        "states:::sqs:sendMessage": {},
        "states:::aws-sdk:securityhub:batchImportFindings": { FailedCount: 0, SuccessCount: 1, FailedFindings: [] },
    };
    return Object.fromEntries(Object.entries(tasks).map(([resource, result]) => [resource, task(resource, result)]));
}

const { definition, cases } = JSON.parse(readFileSync(0, "utf8"));
const results = [];
for (const { input, now = "2026-11-28T22:00:00.000Z", faults = [] } of cases) {
    const { status, error, calls } = await run(definition, { input, now, tasks: tasksOf(faults) });
    results.push({ status, error: error?.name, cause: error?.cause, calls });
}
process.stdout.write(JSON.stringify(results));
