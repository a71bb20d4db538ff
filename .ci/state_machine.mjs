// Runs a state machine of Step Functions here: the states and fields that the templates use, with JSONata's own
// expressions. A test hands in the tasks. What is not known here is an error, never skipped. No time passes between retries.
//
// Step Functions implements JSONata 2.0.6 without $eval, and with $parse, $uuid and others (AWS Step Functions developer
// guide, Transforming data with JSONata). Of these, $parse and $uuid are here.
import { randomUUID } from "node:crypto";
import { createRequire } from "node:module";

const TOOLS = new URL("../target/tools/node/", import.meta.url);
const FIELDS = {
    Pass: ["Output", "Assign", "Next", "End"],
    Choice: ["Choices", "Default", "Output", "Assign"],
    Task: ["Resource", "Arguments", "TimeoutSeconds", "Output", "Assign", "Retry", "Catch", "Next", "End"],
    Parallel: ["Branches", "Arguments", "Output", "Assign", "Retry", "Catch", "Next", "End"],
    Succeed: ["Output"],
    Fail: ["Error", "Cause"],
};
const COMMON = ["Type", "Comment"];

let jsonata;
try {
    jsonata = createRequire(TOOLS)("jsonata");
} catch {
    console.error(".ci/state_machine.mjs: needs the package of .ci/node.txt in target/tools/node; see .ci/run");
    process.exit(1);
}

/** A state failed. `name` is what Step Functions calls the error. */
export class StateError extends Error {
    constructor(name, cause) {
        super(`${name}: ${cause}`);
        Object.assign(this, { name, cause });
    }
}

/** The definition of a template with the values of `DefinitionSubstitutions`, and of parameters in `Fn::Sub`, put in. */
export function substitute(definition, values) {
    const text = JSON.stringify(definition).replace(/\{"Fn::Sub":("[^"]*")\}/g, "$1").replace(/\$\{([\w:]+)\}/g, (_, name) => {
        if (!(name in values)) throw new Error(`no value for \${${name}}`);
        return values[name];
    });
    return JSON.parse(text);
}

/**
 * Runs an execution.
 *
 * `tasks` maps a resource (`states:::lambda:invoke`, without partition) to a function of its arguments, which may throw a
 * StateError. `now` is the time of every state, and `started` that of the execution, as RFC 3339 text. Returns the status, the output or the error, the calls
 * that were made, and the states that were entered.
 */
export async function run(definition, { input, tasks = {}, now = new Date().toISOString(), started = now }) {
    const execution = { input: plain(input), tasks, now, started, calls: [], entered: [] };
    try {
        const output = await runStates(definition, execution.input, {}, execution);
        return { status: "SUCCEEDED", output, ...execution };
    } catch (error) {
        if (!(error instanceof StateError)) throw error;
        return { status: "FAILED", error, ...execution };
    }
}

async function runStates(machine, input, variables, execution) {
    if (machine.QueryLanguage && machine.QueryLanguage !== "JSONata") throw new Error("only JSONata is known here");
    for (let name = machine.StartAt; ;) {
        const state = machine.States[name];
        if (!state) throw new Error(`there is no state ${name}`);
        check(name, state);
        execution.entered.push(name);
        const step = await runState(name, state, input, variables, execution);
        Object.assign(variables, step.assigned);
        input = step.output;
        if (step.next === undefined) return input;
        name = step.next;
    }
}

function check(name, state) {
    const known = FIELDS[state.Type];
    if (!known) throw new Error(`${name}: the type ${state.Type} is not known here`);
    for (const field of Object.keys(state)) {
        if (!known.includes(field) && !COMMON.includes(field)) throw new Error(`${name}: the field ${field} is not known here`);
    }
    if (["Pass", "Task", "Parallel"].includes(state.Type) && (state.Next === undefined) === (state.End !== true)) {
        throw new Error(`${name}: needs either Next or End`);
    }
}

async function runState(name, state, input, variables, execution) {
    const context = { State: { Name: name, EnteredTime: execution.now }, Execution: { StartTime: execution.started, Input: execution.input } };
    const evaluator = (states) => (value) => evaluate(value, { ...variables, states: { input, context, ...states } });
    const end = async (block, states, result) => ({
        assigned: block.Assign ? await evaluator(states)(block.Assign) : {},
        output: block.Output === undefined ? result : await evaluator(states)(block.Output),
        next: block.Next,
    });
    try {
        switch (state.Type) {
            case "Pass":
            case "Succeed":
                return await end(state, {}, input);
            case "Fail":
                throw new StateError(await evaluator({})(state.Error ?? ""), await evaluator({})(state.Cause ?? ""));
            case "Choice":
                for (const choice of state.Choices) {
                    const holds = await evaluator({})(choice.Condition);
                    if (typeof holds !== "boolean") throw new StateError("States.QueryEvaluationError", `${name}: a condition is no boolean`);
                    if (holds) return await end(choice, {}, input);
                }
                if (!state.Default) throw new StateError("States.NoChoiceMatched", name);
                return await end({ ...state, Next: state.Default }, {}, input);
            case "Task":
                return await retried(state, async () => {
                    const given = state.Arguments === undefined ? input : await evaluator({})(state.Arguments);
                    const resource = state.Resource.replace(/^arn:[^:]+:/, "");
                    const task = execution.tasks[resource];
                    if (!task) throw new Error(`${name}: the test has no task ${resource}`);
                    execution.calls.push({ resource, arguments: given });
                    const result = plain((await task(given)) ?? {});
                    return end(state, { result }, result);
                });
            case "Parallel":
                return await retried(state, async () => {
                    const given = state.Arguments === undefined ? input : await evaluator({})(state.Arguments);
                    const result = await Promise.all(
                        state.Branches.map((branch) => runStates(branch, given, { ...variables }, execution)),
                    );
                    return end(state, { result }, result);
                });
        }
    } catch (error) {
        const caught = handlerOf(state.Catch, error);
        if (!caught) throw error;
        const errorOutput = { Error: error.name, Cause: error.cause };
        return end(caught, { errorOutput }, errorOutput);
    }
}

/** What a `Retry` or a `Catch` has for an error. */
function handlerOf(handlers, error) {
    const handles = ({ ErrorEquals }) => ErrorEquals.some((one) => one === "States.ALL" || one === error.name);
    return error instanceof StateError ? (handlers ?? []).find(handles) : undefined;
}

async function retried(state, attempt) {
    for (let failures = 1; ; failures += 1) {
        try {
            return await attempt();
        } catch (error) {
            // Three retries, where a `Retry` does not say (Step Functions developer guide, Handling errors).
            const retry = handlerOf(state.Retry, error);
            if (!retry || failures > (retry.MaxAttempts ?? 3)) throw error;
        }
    }
}

/** Every text that is an expression, at any depth, has its value in its place. */
async function evaluate(value, bindings) {
    if (Array.isArray(value)) return Promise.all(value.map((one) => evaluate(one, bindings)));
    if (value !== null && typeof value === "object") {
        const entries = await Promise.all(Object.entries(value).map(async ([name, one]) => [name, await evaluate(one, bindings)]));
        return Object.fromEntries(entries);
    }
    if (typeof value !== "string" || !value.startsWith("{%") || !value.endsWith("%}")) return value;
    const text = value.slice(2, -2);
    let result;
    try {
        const expression = jsonata(text);
        expression.registerFunction("parse", JSON.parse);
        expression.registerFunction("uuid", () => randomUUID());
        expression.registerFunction("eval", () => { throw new Error("Step Functions has no $eval"); });
        // `$` has no value at the top of an expression.
        result = await expression.evaluate(undefined, bindings);
    } catch (error) {
        throw new StateError("States.QueryEvaluationError", `${error.message} in ${text.trim()}`);
    }
    if (result === undefined || typeof result === "function") {
        throw new StateError("States.QueryEvaluationError", `no value: ${text.trim()}`);
    }
    return plain(result);
}

/** As JSON has it, without the marks that JSONata puts on its lists. */
function plain(value) {
    return JSON.parse(JSON.stringify(value));
}
