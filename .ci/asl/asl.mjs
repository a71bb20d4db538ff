// Runs a state machine of AWS Step Functions in JSONata, as far as ours need it: Pass, Choice, Task, Parallel, Succeed and
// Fail, with Arguments, Output, Assign, Condition, Retry and Catch. No time passes, and no service is called.
//
//     node asl.mjs < {"definition": …, "cases": [{"input": …, "context": {…}, "faults": [{"resource": …, "times": 2,
//                     "error": "Some.Error"} or {…, "result": …}]}, …]}
//
// For each case it prints the calls that were made, and how the execution ended. The language:
// https://docs.aws.amazon.com/step-functions/latest/dg/transforming-data.html and https://states-language.net/
import { readFileSync } from "node:fs";
import jsonata from "jsonata";

class StateError extends Error {
    constructor(error, cause) {
        super(`${error}: ${cause}`);
        Object.assign(this, { error, cause });
    }
}

const parsed = new Map();

// `$` and `$$` have no value at the top of an expression, $eval does not exist, and no result is an error.
async function evaluate(expression, variables) {
    if (!parsed.has(expression)) parsed.set(expression, jsonata(expression));
    const compiled = parsed.get(expression);
    compiled.registerFunction("eval", () => { throw new Error("Step Functions has no $eval"); });
    let value;
    try {
        value = await compiled.evaluate(undefined, variables);
    } catch (problem) {
        throw new StateError("States.QueryEvaluationError", `${problem.message} in ${expression}`);
    }
    if (value === undefined || typeof value === "function") {
        throw new StateError("States.QueryEvaluationError", `no value in ${expression}`);
    }
    return JSON.parse(JSON.stringify(value));
}

// Each text that is an expression, at any depth.
async function resolve(template, variables) {
    if (typeof template === "string") {
        const isExpression = template.startsWith("{%") && template.endsWith("%}");
        return isExpression ? evaluate(template.slice(2, -2), variables) : template;
    }
    if (Array.isArray(template)) return Promise.all(template.map((one) => resolve(one, variables)));
    if (template === null || typeof template !== "object") return template;
    const fields = Object.entries(template).map(async ([name, value]) => [name, await resolve(value, variables)]);
    return Object.fromEntries(await Promise.all(fields));
}

class Execution {
    constructor({ input, context = {}, faults = [] }) {
        this.calls = [];
        this.faults = structuredClone(faults);
        this.context = { Execution: { Input: input, StartTime: "2026-11-28T22:00:00.000Z" }, ...context };
    }

    call(resource, args) {
        this.calls.push({ resource, arguments: args });
        const fault = this.faults.find((one) => one.times > 0 && resource.endsWith(one.resource)
            && (one.topic === undefined || args.TopicArn === one.topic));
        if (fault) {
            fault.times -= 1;
            if (fault.error) throw new StateError(fault.error, "as the test says");
            return fault.result;
        }
        return resource.endsWith("batchImportFindings") ? { FailedCount: 0, SuccessCount: 1, FailedFindings: [] } : {};
    }

    // Runs to the end of a machine or of a branch. A branch sees the variables around it, and keeps its own.
    async run(machine, input, outer) {
        const variables = { ...outer };
        let name = machine.StartAt;
        for (;;) {
            const state = machine.States[name];
            if (!state) throw new StateError("States.Runtime", `there is no state ${name}`);
            const [output, next] = await this.enter(state, input, variables);
            if (next === undefined) return output;
            [input, name] = [output, next];
        }
    }

    async enter(state, input, variables) {
        const seen = (more = {}) => ({ ...variables, states: { input, context: this.context, ...more } });
        const leave = async (fields, more, fallback) => {
            const assigned = await resolve(fields.Assign ?? {}, seen(more));
            const output = "Output" in fields ? await resolve(fields.Output, seen(more)) : fallback;
            Object.assign(variables, assigned);
            return [output, fields.Next];
        };
        switch (state.Type) {
            case "Pass":
            case "Succeed":
                return leave(state, {}, input);
            case "Fail":
                throw new StateError(await resolve(state.Error, seen()), await resolve(state.Cause, seen()));
            case "Choice": {
                for (const choice of state.Choices) {
                    const holds = await resolve(choice.Condition, seen());
                    if (typeof holds !== "boolean") {
                        throw new StateError("States.QueryEvaluationError", `${choice.Condition} is ${holds}`);
                    }
                    if (holds) return leave(choice, {}, input);
                }
                return [input, state.Default];
            }
            case "Task":
            case "Parallel": {
                const attempts = 1 + (state.Retry?.[0].MaxAttempts ?? 0);
                for (let attempt = 1; ; attempt += 1) {
                    try {
                        const result = state.Type === "Task"
                            ? this.call(state.Resource, await resolve(state.Arguments, seen()))
                            : await Promise.all(state.Branches.map((branch) => this.run(branch, input, variables)));
                        return await leave(state, { result }, result);
                    } catch (problem) {
                        if (!(problem instanceof StateError)) throw problem;
                        if (attempt < attempts) continue;
                        const errorOutput = { Error: problem.error, Cause: problem.cause };
                        if (!state.Catch) throw problem;
                        return await leave(state.Catch[0], { errorOutput }, errorOutput);
                    }
                }
            }
            default:
                throw new StateError("States.Runtime", `${state.Type} is not known here`);
        }
    }
}

const { definition, cases } = JSON.parse(readFileSync(0, "utf8"));
const results = [];
for (const one of cases) {
    const execution = new Execution(one);
    const ended = await execution.run(definition, one.input, {}).then(
        () => ({ status: "SUCCEEDED" }),
        (problem) => {
            if (!(problem instanceof StateError)) throw problem;
            return { status: "FAILED", error: problem.error, cause: problem.cause };
        },
    );
    results.push({ calls: execution.calls, ...ended });
}
process.stdout.write(JSON.stringify(results));
