// Asks an IAM policy simulator that is not ours whether the documents of `bedrock-key-guard prevent` deny what
// the policy file forbids, and nothing else. Usage: node check.mjs BINARY
import { runSimulation } from "@cloud-copilot/iam-simulate";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const binary = process.argv[2];
if (!binary) {
  console.error("usage: node check.mjs BINARY");
  process.exit(2);
}
const place = mkdtempSync(join(tmpdir(), "scp-"));
process.on("exit", () => rmSync(place, { recursive: true, force: true }));

const ONE = "111122223333";
const OTHER = "444455556666";
const CREATE = "iam:CreateServiceSpecificCredential";
const ALLOW_ALL = { Version: "2012-10-17", Statement: [{ Effect: "Allow", Action: "*", Resource: "*" }] };

let checks = 0;

function fail(message) {
  console.error(`after ${checks} checks: ${message}`);
  process.exit(1);
}

/** What the command prints for a policy file, and the one JSON document in it. */
function prevent(command, policy, ...options) {
  const args = ["prevent", command, ...options];
  if (policy) {
    const file = join(place, "policy.toml");
    writeFileSync(file, policy);
    args.push("--policy", file);
  }
  const ran = spawnSync(binary, args, { encoding: "utf8" });
  if (ran.status !== 0) fail(`${args.join(" ")}: exit code ${ran.status ?? ran.error}\n${ran.stderr}`);
  return { name: args.slice(0, 2).concat(options).join(" "), policy, document: JSON.parse(ran.stdout) };
}

/** A call that creates a key; `age` undefined: without one. */
const make = (age, rest = {}) => ({ age, account: ONE, user: "svc", service: "bedrock.amazonaws.com", ...rest });

/** A call with a long-term key, or of another type. */
const use = (action, rest = {}) => ({ use: action, type: "LONG_TERM", account: ONE, user: "svc", ...rest });

/** A call on one of the guard's own resources. */
const touch = (action, resource, by) => ({ action, resource, account: ONE, user: "none", by });

function request(call) {
  const { account, user } = call;
  const userArn = `arn:aws:iam::${account}:user/${user}`;
  const principal = call.by ?? (call.use ? userArn : `arn:aws:iam::${account}:role/admin`);
  // As AWS fills them in: of a session, the ARN is its role's.
  const session = /^arn:aws:sts::(\d+):assumed-role\/([^/]+)\//.exec(principal);
  const contextVariables = {
    "aws:CurrentTime": call.time ?? "2026-11-20T09:00:00Z",
    "aws:PrincipalAccount": account,
    "aws:PrincipalArn": session ? `arn:aws:iam::${session[1]}:role/${session[2]}` : principal,
  };
  if (call.use) {
    contextVariables[call.use.replace("CallWithBearerToken", "BearerTokenType")] = call.type;
    return { principal, action: call.use, resource: { resource: "*", accountId: account }, contextVariables };
  }
  if (call.resource) {
    return { principal, action: call.action, resource: { resource: call.resource, accountId: account }, contextVariables };
  }
  const action = call.action ?? CREATE;
  contextVariables["iam:ServiceSpecificCredentialServiceName"] = call.service;
  if (call.age !== undefined) contextVariables["iam:ServiceSpecificCredentialAgeDays"] = String(call.age);
  return { principal, action, resource: { resource: userArn, accountId: account }, contextVariables };
}

async function simulate(made, call, identity = ALLOW_ALL) {
  const boundary = made.name.startsWith("prevent permission-boundary");
  const simulation = {
    request: request(call),
    identityPolicies: [{ name: "identity", policy: identity }],
    serviceControlPolicies: [
      {
        orgIdentifier: "r-root",
        policies: [{ name: "FullAWSAccess", policy: ALLOW_ALL }].concat(
          boundary ? [] : [{ name: "made", policy: made.document }],
        ),
      },
    ],
    resourceControlPolicies: [],
    ...(boundary ? { permissionBoundaryPolicies: [{ name: "made", policy: made.document }] } : {}),
  };
  const result = await runSimulation(simulation, { simulationMode: "Strict" });
  const ignored = result.result?.ignoredContextKeys ?? [];
  if (result.resultType === "error" || ignored.length > 0) {
    fail(`${made.name}: the simulator refuses ${JSON.stringify(call)}: ${JSON.stringify(result.errors ?? ignored)}`);
  }
  return result.overallResult;
}

/** Each call with `true` where it has to be denied. */
async function check(made, calls) {
  for (const [call, denied] of calls) {
    const found = await simulate(made, call);
    const expected = denied ? "ExplicitlyDenied" : "Allowed";
    if (found !== expected) {
      fail(
        `${made.name}: expected ${expected}, found ${found}, for ${JSON.stringify(call)}\n` +
          `${made.policy ?? "(built-in policy)"}\n${JSON.stringify(made.document, null, 2)}`,
      );
    }
    checks += 1;
  }
}

const limit = (days, rest = "", services = `["bedrock.amazonaws.com"]`) =>
  `[default]\nservices = ${services}\nmax_lifetime_days = ${days}\nresponse = "delete"\n${rest}`;
const exemption = (user) =>
  `[[exemption]]\naccount = "${ONE}"\nuser = "${user}"\nreason = "SEC-1234"\nuntil = 2999-12-31\n`;
const breakGlass = "arn:aws:iam::111122223333:role/break-glass";

// What is usually recommended has a hole: it denies a key of 91 days, and lets one pass that never expires.
await check(
  {
    name: "the usual single statement",
    document: {
      Version: "2012-10-17",
      Statement: [
        {
          Effect: "Deny",
          Action: CREATE,
          Resource: "*",
          Condition: {
            StringEquals: { "iam:ServiceSpecificCredentialServiceName": "bedrock.amazonaws.com" },
            NumericGreaterThan: { "iam:ServiceSpecificCredentialAgeDays": "90" },
          },
        },
      ],
    },
  },
  [
    [make(90), false],
    [make(91), true],
    [make(undefined), false],
  ],
);

for (const command of ["scp", "permission-boundary"]) {
  const builtIn = [
    [make(undefined), true],
    [make(1), false],
    [make(90), false],
    [make(91), true],
    [make(36600), true],
    [make(undefined, { service: "BEDROCK.amazonaws.com" }), true],
    [make(91, { service: "BEDROCK.amazonaws.com" }), true],
    [make(undefined, { service: "logs.amazonaws.com" }), false],
    [make(undefined, { service: "codecommit.amazonaws.com" }), false],
    [make(undefined, { user: "team/a/svc" }), true],
    [make(undefined, { by: `arn:aws:iam::${ONE}:user/svc` }), true],
    [make(undefined, { by: `arn:aws:sts::${ONE}:assumed-role/admin/kim` }), true],
    [use("bedrock:CallWithBearerToken"), false],
    [{ ...make(undefined), action: "iam:UpdateServiceSpecificCredential" }, false],
    [{ ...make(undefined), action: "iam:DeleteServiceSpecificCredential" }, false],
  ];
  await check(prevent(command), builtIn);
  await check(prevent(command, undefined, "--break-glass", "arn:aws:iam::*:role/break-glass"), [
    ...builtIn,
    [make(undefined, { by: breakGlass }), false],
    [make(91, { by: breakGlass }), false],
    [make(undefined, { by: `arn:aws:sts::${ONE}:assumed-role/break-glass/kim` }), false],
    [make(undefined, { by: `${breakGlass}-not` }), true],
    [make(undefined, { by: `arn:aws:iam::${ONE}:user/break-glass` }), true],
  ]);

  await check(prevent(command, limit(0)), [
    [make(undefined), true],
    [make(1), true],
    [make(36600), true],
    [make(1, { by: breakGlass }), true],
    [make(1, { service: "logs.amazonaws.com" }), false],
  ]);

  const byAccount =
    `[[override]]\naccounts = ["${ONE}"]\nmax_lifetime_days = 365\n` +
    `[[override]]\naccounts = ["${OTHER}"]\nmax_lifetime_days = 0\n` +
    `[[override]]\naccounts = ["777788889999"]\nresponse = "monitor"\n`;
  await check(prevent(command, limit(90, byAccount)), [
    [make(365), false],
    [make(366), true],
    [make(undefined), true],
    [make(1, { account: OTHER }), true],
    [make(undefined, { account: OTHER }), true],
    [make(undefined, { account: "777788889999" }), false],
    [make(90, { account: "123412341234" }), false],
    [make(91, { account: "123412341234" }), true],
  ]);

  const byService = `[[override]]\nservices = ["logs.amazonaws.com"]\nmax_lifetime_days = 30\n`;
  await check(prevent(command, limit(90, byService, `["bedrock.amazonaws.com", "logs.amazonaws.com"]`)), [
    [make(90), false],
    [make(91), true],
    [make(undefined, { service: "logs.amazonaws.com" }), true],
    [make(30, { service: "logs.amazonaws.com" }), false],
    [make(31, { service: "Logs.amazonaws.com" }), true],
    [make(undefined, { service: "cloudwatch.amazonaws.com" }), false],
  ]);

  const byUser = `[[override]]\nusers = ["svc-*"]\nmax_lifetime_days = 365\n`;
  for (const options of [[], ["--plain-users"]]) {
    await check(prevent(command, limit(90, byUser), ...options), [
      [make(365, { user: "svc-a" }), false],
      [make(366, { user: "svc-a" }), true],
      [make(undefined, { user: "svc-a" }), true],
      [make(91, { user: "other" }), true],
      [make(365, { user: "SVC-a" }), options.length > 0],
      [make(365, { user: "team/svc-a" }), options.length > 0],
    ]);
  }

  const stricter = `[[override]]\nusers = ["BedrockAPIKey-*", "fixed"]\nmax_lifetime_days = 0\n`;
  for (const options of [[], ["--plain-users"]]) {
    await check(prevent(command, limit(90, stricter), ...options), [
      [make(1, { user: "BedrockAPIKey-x1y2" }), options.length > 0],
      [make(91, { user: "BedrockAPIKey-x1y2" }), true],
      [make(1, { user: "fixed" }), true],
      [make(1, { user: "team/fixed" }), options.length === 0],
      [make(1, { user: "unfixed" }), false],
    ]);
  }

  const before = { user: "Vendor", time: "2999-12-31T23:59:59Z" };
  const after = { user: "Vendor", time: "3000-01-01T00:00:00Z" };
  for (const options of [[], ["--plain-users"]]) {
    await check(prevent(command, limit(90, exemption("Vendor")), ...options), [
      [make(undefined, { user: "Vendor" }), false],
      [make(undefined, before), false],
      [make(91, before), false],
      [make(undefined, after), true],
      [make(91, after), true],
      [make(90, after), false],
      [make(undefined, { ...before, account: OTHER }), true],
      [make(undefined, { ...before, user: "another" }), true],
      [make(undefined, { ...before, user: "VENDOR" }), options.length > 0],
      [make(undefined, { ...before, user: "team/Vendor" }), options.length > 0],
    ]);
  }

  const services = `["bedrock.amazonaws.com", "aws-external-anthropic.amazonaws.com"]`;
  const asked = ["--deny-use", "--break-glass", "arn:aws:iam::*:user/ops/*"];
  const denyUse = prevent(command, limit(90, exemption("Vendor"), services), ...asked);
  for (const prefix of ["bedrock", "bedrock-mantle", "aws-external-anthropic"]) {
    const action = `${prefix}:CallWithBearerToken`;
    await check(denyUse, [
      [use(action), true],
      [use(action, { type: "SHORT_TERM" }), false],
      [use(action, { user: "ops/kim" }), false],
      [use(action, before), false],
      [use(action, after), true],
      [use(action, { ...before, account: OTHER }), true],
    ]);
  }
  await check(denyUse, [
    [make(undefined), true],
    [make(90), false],
  ]);
}

// A boundary cuts down and grants nothing.
const boundary = prevent("permission-boundary");
const nothing = { Version: "2012-10-17", Statement: [{ Effect: "Allow", Action: "s3:ListAllMyBuckets", Resource: "*" }] };
const granted = await simulate(boundary, make(90), nothing);
if (granted !== "ImplicitlyDenied") fail(`${boundary.name}: expected it to grant nothing, found ${granted}`);
checks += 1;

// What keeps the guard itself: nobody but StackSets and break-glass may change its resources, and nothing else is denied.
const session = (role) => `arn:aws:sts::${ONE}:assumed-role/${role}/session`;
const region = `us-east-1:${ONE}`;
const role = (name) => `arn:aws:iam::${ONE}:role/${name}`;
const owned = [
  ["events:DisableRule", `arn:aws:events:${region}:rule/bedrock-key-guard-member`],
  ["events:PutTargets", `arn:aws:events:${region}:rule/bedrock-key-guard-member`],
  ["iam:PutRolePolicy", role("bedrock-key-guard-responder")],
  ["iam:UpdateAssumeRolePolicy", role("StackSet-bedrock-key-guard-member-13-ForwarderRole-ABCDEFGHIJKL")],
  ["iam:DeleteRole", role("bedrock-key-guard-heartbeat")],
  ["iam:CreateRole", role("stacksets-exec-0123456789abcdef")],
  ["scheduler:DeleteSchedule", `arn:aws:scheduler:${region}:schedule/default/bedrock-key-guard-member-heartbeat`],
  ["sqs:SetQueueAttributes", `arn:aws:sqs:${region}:bedrock-key-guard-member-undelivered`],
  ["cloudwatch:DeleteAlarms", `arn:aws:cloudwatch:${region}:alarm:bedrock-key-guard-member-nothing-heard`],
  ["cloudformation:DeleteStack", `arn:aws:cloudformation:${region}:stack/StackSet-bedrock-key-guard-member-13/14`],
];
const others = [
  ["events:DisableRule", `arn:aws:events:${region}:rule/something-else`],
  ["events:DescribeRule", `arn:aws:events:${region}:rule/bedrock-key-guard-member`],
  ["iam:GetRole", role("bedrock-key-guard-responder")],
  ["iam:PutRolePolicy", role("another-role")],
  ["sqs:ReceiveMessage", `arn:aws:sqs:${region}:bedrock-key-guard-member-undelivered`],
];
const trail = ["cloudtrail:StopLogging", `arn:aws:cloudtrail:${region}:trail/management-events`];
for (const options of [[], ["--protect-trails"]]) {
  const made = prevent("scp", null, "--protect", "--break-glass", breakGlass, ...options);
  const may = ["stacksets-exec-0123456789abcdef", "break-glass"];
  await check(made, owned.map((call) => [touch(...call, session("admin")), true]));
  for (const name of may) await check(made, owned.map((call) => [touch(...call, session(name)), false]));
  await check(made, others.map((call) => [touch(...call, session("admin")), false]));
  await check(made, [[touch(...trail, session("admin")), options.length > 0]]);
}

console.log(`${checks} checks passed`);
