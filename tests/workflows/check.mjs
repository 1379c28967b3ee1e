// Reads every workflow and the action as GitHub does: its own parser, schema and expressions. Usage: node check.mjs
import { readFile, readdir } from "node:fs/promises";
import { register } from "node:module";

register("./json.mjs", import.meta.url);
const { validate } = await import("@actions/languageservice");
const { TextDocument } = await import("vscode-languageserver-textdocument");

const root = new URL("../../", import.meta.url);

async function problems(path, text) {
  const document = TextDocument.create(new URL(path, root).href, "yaml", 1, text);
  const found = await validate(document, {});
  return found.map(({ range, message }) => `${path}:${range.start.line + 1}: ${message}`);
}

async function workflows(folder) {
  const names = await readdir(new URL(folder, root));
  return names.filter((name) => name.endsWith(".yml")).map((name) => folder + name);
}

// A parser that finds nothing anywhere would find nothing here either.
const wrong = {
  ".github/workflows/wrong.yml": "on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n      - run: ${{ nothing.here }}\n",
  "wrong/action.yml": "name: a\ndescription: a\nruns:\n  using: composite\n  steps:\n    - run: echo\n",
};
for (const [path, text] of Object.entries(wrong)) {
  if ((await problems(path, text)).length === 0) throw new Error(`the parser takes a wrong ${path}`);
}

const paths = ["action.yml", ...(await workflows(".github/workflows/")), ...(await workflows("examples/github/"))];
const found = [];
for (const path of paths) {
  found.push(...(await problems(path, await readFile(new URL(path, root), "utf8"))));
}
found.forEach((problem) => console.error(problem));
console.log(`${paths.length} workflows and actions read by GitHub's own parser, ${found.length} problems`);
process.exitCode = found.length === 0 ? 0 : 1;
