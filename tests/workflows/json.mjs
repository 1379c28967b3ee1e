// GitHub's packages are made for a bundler, which needs no attribute on an import of JSON; Node.js does.
import { readFile } from "node:fs/promises";

export async function load(url, context, next) {
  if (!url.endsWith(".json")) return next(url, context);
  return { format: "module", shortCircuit: true, source: `export default ${await readFile(new URL(url), "utf8")};` };
}
