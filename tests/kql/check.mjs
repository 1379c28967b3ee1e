// Checks the queries that the binary would send with Microsoft's own parser and binder for KQL.
//
//     node check.mjs [path of the binary]
//
// Runs `azure-incremental queries` in both modes under many settings, and holds each query against the schema of Azure
// Resource Graph, against its limits, and against the settings: what the binder reads in a literal is what the user wrote.
// Before that it proves on known-bad queries that it can fail.

import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);
require("@kusto/language-service-next/bridge.js");
require("@kusto/language-service-next/Kusto.Language.Bridge.js");
const Kusto = globalThis.Kusto.Language;

const BINARY = process.argv[2] ?? fileURLToPath(new URL("../../target/debug/azure-incremental", import.meta.url));
const OF_GROUPS = "resources of groups";
const MODES = ["incremental", "full"];

// ---------------------------------------------------------------------------------------------------------------------
// What Resource Graph knows, allows and is expected to answer
// ---------------------------------------------------------------------------------------------------------------------

// "Azure Resource Graph table and resource type reference": every table has these columns.
const TABLES = ["resources", "resourcecontainers", "resourcechanges", "resourcecontainerchanges"];
const SCHEMA =
  '(id: string, name: string, type: string, tenantId: string, ["kind"]: string, location: string, resourceGroup: string, ' +
  "subscriptionId: string, managedBy: string, sku: dynamic, plan: dynamic, properties: dynamic, tags: dynamic, " +
  "identity: dynamic, zones: dynamic, extendedLocation: dynamic)";

// "Understanding the Azure Resource Graph query language": what it supports, less what ends paging (take, limit, top,
// sample) or multiplies rows.
const OPERATORS = ["FilterOperator", "ExtendOperator", "SummarizeOperator", "JoinOperator", "UnionOperator", "ProjectOperator", "SortOperator"];
const JOIN_KINDS = ["innerunique", "inner", "leftouter"];
const MOST_JOINS = 3;

const strings = (...names) => Object.fromEntries(names.map((name) => [name, "string"]));
const CONTAINER = {
  ...strings("id", "resourceId", "sourceResourceId", "name", "type", "location", "subscriptionId", "resourceGroup"),
  tags: "dynamic",
};
const CHANGE = { changeType: "string", changeTime: "datetime" };
// Whether what changed may have moved a group into or out of scope.
const MOVES = { movesScope: "long" };
// Of a container, where there are tag filters.
const SCOPE = { scope: "string" };
const RESOURCE = { ...CONTAINER, rgTags: "dynamic" };
const GROUP = strings("rgId", "rgName", "rgLocation");
// What may be asked for beside it.
const FURTHER = {
  ...strings("kind", "managedBy", "tenantId"),
  ...Object.fromEntries(["extendedLocation", "identity", "plan", "properties", "sku", "zones"].map((name) => [name, "dynamic"])),
};

// What each query must yield, and which of the filters it obeys. Deletes are never filtered by tags, and nor is what is read of
// groups that are known to be in scope. Containers are all read, and say whether they are in scope.
const CHANGED_CONTAINERS = {
  columns: { ...CONTAINER, ...CHANGE, ...MOVES },
  filtered: SCOPE,
  tags: true,
  types: false,
};
// Which subscriptions are looked at, and what time it is there.
const COVERED = {
  columns: { ...strings("id", "resourceId", "sourceResourceId"), azureTime: "datetime" },
  tags: false,
  types: false,
};
const QUERIES = {
  incremental: {
    "covered subscriptions": COVERED,
    "changed containers": CHANGED_CONTAINERS,
    "changed resources": {
      columns: { ...RESOURCE, ...GROUP, ...CHANGE, changedProperties: "dynamic" },
      tags: true,
      types: true,
    },
  },
  full: {
    "covered subscriptions": COVERED,
    "changed containers": CHANGED_CONTAINERS,
    "absent resources": { columns: { ...CONTAINER, rgTags: "dynamic", ...CHANGE }, tags: false, types: true },
    containers: { columns: CONTAINER, filtered: SCOPE, tags: true, types: false },
    // Of groups in scope where a filter includes some, else of all.
    resources: { columns: { ...RESOURCE, ...GROUP }, tags: false, types: true },
  },
};

// ---------------------------------------------------------------------------------------------------------------------
// One query under the parser
// ---------------------------------------------------------------------------------------------------------------------

const tables = TABLES.map((name) => new Kusto.Symbols.TableSymbol.$ctor7(name, SCHEMA, null));
const database = new Kusto.Symbols.DatabaseSymbol.$ctor1("arg", tables);
const GLOBALS = Kusto.GlobalState.Default.WithDatabase(database);

/** The items of one of the library's lists. */
const items = (list) => (list ? Array.from({ length: list.Count }, (_, index) => list.getItem(index)) : []);

const kindOf = (element) => globalThis.System.Enum.toString(Kusto.Syntax.SyntaxKind, element.Kind);

/** Every node and token below an element, in the order of the text. */
function* elements(element) {
  if (!element) return;
  yield element;
  if (!element.IsToken) {
    for (let index = 0; index < element.ChildCount; index++) yield* elements(element.GetChild(index));
  }
}

/** The tokens of an element, without white space and comments. */
const tokensOf = (element) => [...elements(element)].filter((token) => token.IsToken && token.Text !== "");

const spell = (tokens) => tokens.map((token) => token.Text).join(" ");

const analyzed = new Map();

/** What the parser and the binder make of a text. */
function analyze(text) {
  let query = analyzed.get(text);
  if (!query) {
    const code = Kusto.KustoCode.ParseAndAnalyze(text, GLOBALS);
    const tokens = tokensOf(code.Syntax).map((token) => ({
      Text: token.Text,
      literal: kindOf(token) === "StringLiteralToken",
      value: token.Value,
    }));
    query = {
      text,
      diagnostics: items(code.GetDiagnostics()),
      columns: items(code.ResultType?.Columns).map((column) => [column.Name, column.Type.Name]),
      nodes: [...elements(code.Syntax)].filter((element) => !element.IsToken),
      // The text with what stands in literals left out: no value of a user's may change it.
      skeleton: tokens.map((token) => (token.literal ? "'…'" : token.Text)).join(" "),
      // As the library itself decodes them.
      literals: tokens.filter((token) => token.literal).map((token) => token.value),
      // Which of them are looked for in a text of JSON.
      sought: tokens.flatMap((token, index) => (token.literal ? [tokens[index - 1].Text === "contains"] : [])),
    };
    analyzed.set(text, query);
  }
  return query;
}

/** What is wrong with a query, whatever the settings. */
function flaws(query, expected) {
  const found = [];
  for (const { Severity, Code, Message, Start, Length } of query.diagnostics) {
    found.push(`${Severity} ${Code}: ${Message} At ${brief(query.text.substring(Start, Start + Length))}.`);
  }

  const kinds = query.nodes.map(kindOf);
  const statements = kinds.filter((kind) => kind.endsWith("Statement"));
  if (statements.length !== 1) found.push(`${statements.length} statements instead of one`);
  if (kinds.includes("CompoundStringLiteralExpression")) found.push("two literals side by side, which are concatenated");
  for (const kind of new Set(kinds.filter((kind) => kind.endsWith("Operator") && !OPERATORS.includes(kind)))) {
    found.push(`${kind} is not allowed`);
  }

  const joins = query.nodes.filter((node) => kindOf(node) === "JoinOperator");
  if (joins.length > MOST_JOINS) found.push(`${joins.length} joins, and Resource Graph takes ${MOST_JOINS}`);
  for (const join of joins) {
    const kind = /^join (?:.*? )??kind = (\w+)/.exec(spell(tokensOf(join)))?.[1] ?? "innerunique";
    if (!JOIN_KINDS.includes(kind)) found.push(`join kind ${kind} is not allowed`);
  }

  found.push(...orderFlaws(query));

  const columns = new Map(query.columns);
  if (columns.size !== query.columns.length) found.push("a column is there twice");
  for (const [name, type] of Object.entries(expected)) {
    if (!columns.has(name)) found.push(`column ${name} is missing`);
    else if (columns.get(name) !== type) found.push(`column ${name} is ${columns.get(name)} instead of ${type}`);
  }
  for (const name of columns.keys()) {
    // `join` renames what both sides have: whoever reads such a column has mistaken the side.
    if (columns.has(name.replace(/\d+$/, "")) && /\d$/.test(name)) found.push(`column ${name} is a join's leftover`);
  }
  return found;
}

/** Paging needs a last sort key that no two rows share: `resourceId`, which must be among the columns. */
function orderFlaws(query) {
  // The outermost pipe: what it ends in is what orders the result.
  const pipe = query.nodes.find((node) => kindOf(node) === "PipeExpression");
  const last = pipe && pipe.GetChild(pipe.ChildCount - 1);
  if (!last || kindOf(last) !== "SortOperator") return ["the result is not ordered"];
  const order = spell(tokensOf(last));
  if (!/^(order|sort) by ([^,]+ , )*resourceId asc$/.test(order)) return [`the last sort key is not resourceId: ${order}`];
  if (!query.columns.some(([name]) => name === "resourceId")) return ["the sort key is not among the columns"];
  return [];
}

// ---------------------------------------------------------------------------------------------------------------------
// A query against its settings
// ---------------------------------------------------------------------------------------------------------------------

/** Lower case as KQL has it, one character for one: JavaScript's own lengthens `İ`, and knows a final sigma. */
const lower = (text) =>
  Array.from(text, (char) => (Array.from(char.toLowerCase()).length === 1 ? char.toLowerCase() : char)).join("");

/** The longest part of a text that JSON never escapes; of several, the last. */
const plainPart = (text) =>
  text.split(/[^A-Za-z0-9 _.-]/).reduce((longest, part) => (part.length >= longest.length ? part : longest), "");

/** What is wrong with the values of the settings in a query, beside the same query with a stand-in for each value. */
function valueFlaws(query, plain, values, types, obeys) {
  if (query.skeleton !== plain.skeleton) return ["a value changes the query around it"];
  const found = [];
  const wanted = plain.literals.map((literal, index) => {
    if (!values.has(literal)) return literal;
    const value = lower(values.get(literal));
    return plain.sought[index] ? plainPart(value) : value;
  });
  const wrong = query.literals.findIndex((literal, index) => literal !== wanted[index]);
  if (wrong >= 0) found.push(`the binder reads ${brief(query.literals[wrong])} instead of ${brief(wanted[wrong])}`);
  for (const name of values.keys()) {
    if (plain.literals.includes(name) !== obeys.tags) found.push(`tag filters are ${obeys.tags ? "left out" : "obeyed"}`);
  }
  for (const type of types ?? []) {
    if (query.literals.includes(lower(type)) !== obeys.types) found.push(`types are ${obeys.types ? "left out" : "obeyed"}`);
  }
  return [...new Set(found)];
}

const brief = (value) => {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
};

/** Tag filters with a stand-in for every name and value, and what each stands for. An empty value has none: it asks
 * another question. */
function standIns({ include = {}, exclude = {} } = {}) {
  const values = new Map();
  const standIn = (text) => {
    const name = `stand-in ${values.size}`;
    values.set(name, text);
    return name;
  };
  const replace = (conditions) =>
    Object.fromEntries(Object.entries(conditions).map(([name, value]) => [standIn(name), value && standIn(value)]));
  return { values, tags: { include: replace(include), exclude: replace(exclude) } };
}

/** JSON whose odd characters are escapes, as the program refuses those that nobody sees. */
const json = (value) =>
  JSON.stringify(value).replace(/[^ -~]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** The names and texts of the queries that the binary prints. */
function printed(mode, { types, tags, raw }) {
  const env = { ...raw };
  if (types) env.RESOURCE_TYPES = json(types);
  if (tags) env.RESOURCE_GROUP_TAG_FILTERS = json(tags);
  const run = spawnSync(BINARY, ["queries", "--mode", mode], { env, encoding: "utf8", maxBuffer: 1 << 28 });
  if (run.error) throw run.error;
  if (run.status !== 0) return { refused: `exit ${run.status ?? run.signal}: ${run.stderr.trim()}`, status: run.status };
  const parts = run.stdout.split(/^\/\/ (.*)\n/m);
  if (parts.shift() !== "") return { refused: "the output does not begin with a name", status: 0 };
  const queries = [];
  for (let index = 0; index < parts.length; index += 2) {
    // Times differ from one run of the binary to the next.
    queries.push([parts[index].replace(/, since [-0-9T:]+Z$/, ""), parts[index + 1].replace(/(datetime\()[-0-9T:.]+Z\)/g, "$12026-01-02T03:04:05.678Z)")]);
  }
  return { queries };
}

// ---------------------------------------------------------------------------------------------------------------------
// The settings
// ---------------------------------------------------------------------------------------------------------------------

const ODD = {
  "a quote": "O'Connor",
  "two quotes": "''",
  "a double quote": 'the "best" one',
  "both quotes": `'"'"`,
  "a backslash": "C:\\new\\table",
  "a backslash at the end": "\\",
  "a backslash and a quote": "\\'",
  "an escape that is text": "\\u0027 \\n \\x41",
  "line breaks": "a\nb\rc\r\nd",
  "a tab": "\ta\t",
  "NUL": "\0 a\0b \0",
  "other control characters": "\u0001\u0007\b\f\u000b\u001b[31m\u007f\u0085\u009f",
  "Unicode line separators": "a\u2028b\u2029c",
  "a byte order mark": "\ufeffa",
  "emoji": "🚀👩‍👩‍👧‍👦",
  "right to left": "\u202eشركة \u2067עברית\u2069",
  "capitals of several scripts": "ÄÖÜ ΣΊΣΥΦΟΣ ДОМ ǅ İ ẞ",
  "combining characters": "e\u0301 é Å",
  "private use and beyond the BMP": "\ue000\u{10fffd}𐐀",
  "a comment": "a // b",
  "a line that looks like a name": "\n// resources\nresources",
  "an operator": "| take 1",
  "an operator on its own line": "x'\n| take 1",
  "a way out": "'] or true or tostring(lowerTags['",
  "another way out": "') or true //",
  "a second statement": "'; resources | take 1",
  "other literals of KQL": "h'x' @'y' ```z``` dynamic(null) datetime(null)",
  "verbatim": "@'\\'",
  "three backticks": "```",
  "braces and brackets": "{0} {{}} [x] ['y'] ( )",
  "percent and dollar": "%s %d $left ${HOME} $(id)",
  "white space": "  ",
  "nothing": "",
  "a long one": "x'\\".repeat(8000),
};

const TYPES = ["microsoft.keyvault/vaults", "Microsoft.Network/virtualNetworks", "Microsoft.network/networksecuritygroups"];

function* allSettings() {
  yield ["no settings", {}];
  yield ["a window of 6 days", { raw: { CHANGE_WINDOW_MINUTES: "8640" } }];
  yield ["who made a change", { raw: { INCLUDE_CHANGE_ACTOR: "true" }, more: { changeAttributes: "dynamic" } }];
  yield ["further columns", { raw: { RESOURCE_COLUMNS: Object.keys(FURTHER).join() }, further: FURTHER }];
  yield ["one type", { types: ["microsoft.keyvault/vaults"] }];
  yield ["types of mixed case, one twice", { types: [...TYPES, "MICROSOFT.KEYVAULT/vaults"] }];
  yield ["nested types", { types: ["Microsoft.Sql/servers/databases", "my-own_thing.x/y/z"] }];
  yield ["500 types", { types: Array.from({ length: 500 }, (_, index) => `Contoso.Namespace${index}/things`) }];
  yield ["empty filters", { tags: { include: {}, exclude: {} } }];
  yield ["include", { tags: { include: { Environment: "Production" } } }];
  yield ["exclude", { tags: { exclude: { Environment: "Development", Stage: "staging" } } }];
  yield [
    "include, exclude and types",
    {
      types: TYPES,
      tags: { include: { Environment: "Production", Team: "Platform" }, exclude: { Temporary: "true", Purpose: "test" } },
    },
  ];
  const many = (prefix) => Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`${prefix} ${i}`, `Value '${i}'`]));
  yield ["50 and 50 conditions", { types: TYPES, tags: { include: many("In"), exclude: many("Out") } }];
  for (const [what, text] of Object.entries(ODD)) {
    yield [`${what} as an included value`, { tags: { include: { Owner: text } } }];
    yield [`${what} as an excluded value`, { types: TYPES, tags: { exclude: { Owner: text, Other: "plain" } } }];
    if (text) yield [`${what} as a name`, { tags: { include: { [text]: text }, exclude: { [`${text}!`]: text } } }];
  }
  yield ["all odd values at once", { tags: { include: ODD, exclude: ODD } }];
}

// A type has no odd characters: whoever writes one has made a mistake, and must be told.
const REFUSED = {
  "a type with a quote": { types: ["microsoft.keyvault/vaults'"] },
  "a type that is a way out": { types: ["a/b') or true //"] },
  "a type with a line break": { types: ["a/b\n| take 1"] },
};

function checkBinary(report) {
  let queries = 0;
  let settingsCount = 0;
  for (const mode of MODES) {
    for (const [what, settings] of allSettings()) {
      settingsCount++;
      const includes = Object.keys(settings.tags?.include ?? {}).length > 0;
      const filters = includes || Object.keys(settings.tags?.exclude ?? {}).length > 0;
      const names = Object.keys(QUERIES[mode]).map((name) => (name === "resources" && includes ? OF_GROUPS : name));
      const { queries: found, refused } = printed(mode, settings);
      if (refused) {
        report(`${mode}, ${what}: ${refused}`);
        continue;
      }
      if (found.map(([name]) => name).join() !== names.join()) {
        report(`${mode}, ${what}: prints the queries ${brief(found.map(([name]) => name))} instead of ${brief(names)}`);
        continue;
      }
      const { values, tags } = standIns(settings.tags);
      const plain = new Map(printed(mode, { ...settings, tags }).queries);
      for (const [name, text] of found) {
        queries++;
        const query = analyze(text);
        const { filtered, ...expected } = QUERIES[mode][name === OF_GROUPS ? "resources" : name];
        if (filters) Object.assign((expected.columns = { ...expected.columns }), filtered);
        const isOfRows = name === "changed resources" || name === "resources" || name === OF_GROUPS;
        if (isOfRows) expected.columns = { ...expected.columns, ...settings.further };
        const problems = [
          ...flaws(query, name.startsWith("changed ") && mode === "incremental" ? { ...expected.columns, ...settings.more } : expected.columns),
          ...valueFlaws(query, analyze(plain.get(name)), values, settings.types, expected),
        ];
        for (const problem of problems) report(`${mode}, ${what}, ${name}: ${problem}`);
      }
    }
    for (const [what, settings] of Object.entries(REFUSED)) {
      const { status } = printed(mode, settings);
      if (status !== 2) report(`${mode}, ${what}: exit ${status ?? 0} instead of 2`);
    }
  }
  return { queries, settingsCount };
}

// ---------------------------------------------------------------------------------------------------------------------
// The check itself
// ---------------------------------------------------------------------------------------------------------------------

const GOOD = `resources
| extend resourceId = tolower(id)
| join kind=leftouter (resourcecontainers | project rgId = tolower(id), rgTags = tags) on $left.resourceId == $right.rgId
| where tostring(tags['owner']) == 'o\\'connor'
| project id, resourceId, location, tags, rgTags
| order by resourceId asc`;
const GOOD_COLUMNS = { ...strings("id", "resourceId", "location"), tags: "dynamic", rgTags: "dynamic" };

// What is changed in the good query, and what must be said of it.
const BAD = {
  "a column that is not there": [["tolower(id)\n", "tolower(noSuchColumn)\n"], /Error KS142.*noSuchColumn/],
  "a column used before it is defined": [["resources\n", "resources\n| where isnotempty(resourceId)\n"], /Error KS142.*resourceId/],
  "a table that is not there": [["resources\n", "securityresources\n"], /Error KS/],
  "a function that is not there": [["tolower(id)\n", "lowercase(id)\n"], /Error KS/],
  "an argument too many": [["tolower(id)\n", "tolower(id, name)\n"], /Error KS119/],
  "a parenthesis left open": [["tostring(tags['owner'])", "tostring(tags['owner']"], /Error KS/],
  "a literal left open": [["'o\\'connor'", "'o'connor'"], /Error KS/],
  "four joins": [["| where", `${"| join kind=inner (resources | project id) on id\n".repeat(3)}| where`], /4 joins/],
  "a join of a kind that is not supported": [["leftouter", "fullouter"], /join kind fullouter/],
  "take": [["| project id", "| take 10\n| project id"], /TakeOperator is not allowed/],
  "limit in a subquery": [["rgTags = tags)", "rgTags = tags | limit 10)"], /TakeOperator is not allowed/],
  "top": [["| order by resourceId asc", "| top 10 by resourceId asc"], /TopOperator is not allowed/],
  "sample": [["| project id", "| sample 10\n| project id"], /SampleOperator is not allowed/],
  "no order": [["| order by resourceId asc", ""], /not ordered/],
  "an order that does not come last": [["| order by resourceId asc", "| order by resourceId asc\n| extend x = 1"], /not ordered/],
  "an order by what is not unique": [["order by resourceId asc", "order by location asc"], /last sort key is not resourceId/],
  "a last sort key that is not unique": [["resourceId asc", "resourceId asc, location asc"], /last sort key is not resourceId/],
  "a descending order": [["resourceId asc", "resourceId desc"], /last sort key is not resourceId/],
  "no id": [["project id, ", "project "], /column id is missing/],
  "an id that is not scalar": [["project id, ", "project id = properties, "], /column id is dynamic instead of string/],
  "a column of another type": [["location, tags, rgTags", "location, tags = tostring(tags), rgTags"], /column tags is string/],
  "a join's leftover": [["rgTags = tags)", "rgTags = tags, location)"], /column location1 is a join's leftover/, "project-away"],
  "a quote doubled": [["'o\\'connor'", "'o''connor'"], /side by side.*changes the query around it/],
  "a quote that ends its literal": [["'o\\'connor'", "'o' or '' == ''"], /changes the query around it/],
  "a backslash too many": [["o\\'connor", "o\\\\\\'connor"], /reads "o\\\\'connor" instead of "o'connor"/],
  "a value in capitals": [["o\\'connor", "O\\'Connor"], /reads "O'Connor" instead of "o'connor"/],
  "a filter left out": [["| where tostring(tags['owner']) == 'o\\'connor'\n", ""], /changes the query around it/],
  "a comment that swallows the rest": [["tags, rgTags\n", "tags // , rgTags\n"], /rgTags is missing/],
  "a second statement": [["asc", "asc;\nresources | project id"], /2 statements/],
};

/** Proves that every kind of flaw is found, and that a good query has none. */
function checkTheCheck(report) {
  const plain = analyze(GOOD.replace("owner", "stand-in 0").replace("o\\'connor", "stand-in 1"));
  const values = new Map([["stand-in 0", "owner"], ["stand-in 1", "O'Connor"]]);
  const judge = (text) => {
    const query = analyze(text);
    return [...flaws(query, GOOD_COLUMNS), ...valueFlaws(query, plain, values, [], { tags: true, types: false })];
  };
  const none = judge(GOOD);
  if (none.length > 0) report(`self-test: a good query is called bad: ${none.join("; ")}`);
  for (const [what, [[from, to], complaint, awayWith]] of Object.entries(BAD)) {
    let text = GOOD;
    // The leftover shows only where nothing picks the columns.
    if (awayWith) text = text.replace(/\| project id, .*/, `| ${awayWith} rgId`);
    const bad = text.replace(from, () => to);
    if (bad === text) report(`self-test: "${what}" changes nothing`);
    const found = judge(bad).join("; ");
    if (!complaint.test(found)) report(`self-test: "${what}" is not found: ${found || "no complaint"}`);
  }
}

let failures = 0;
const report = (line) => {
  failures++;
  console.error(line);
};
checkTheCheck(report);
const { queries, settingsCount } = checkBinary(report);
console.log(
  `kql: ${queries} queries under ${settingsCount} settings, ${Object.keys(BAD).length} known-bad ones, ` +
    (failures === 0 ? "all as they should be" : `${failures} failures`),
);
process.exitCode = failures === 0 ? 0 : 1;
