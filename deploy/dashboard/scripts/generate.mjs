// Makes src/generated from the JSON Schemas of the payloads: their TypeScript types, and functions that say whether a
// value is such a payload. The functions are made here and not in the browser, whose policy forbids the page to make code.
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import Ajv from "ajv/dist/2020.js";
import standalone from "ajv/dist/standalone/index.js";
import { compile } from "json-schema-to-typescript";

const SCHEMAS = fileURLToPath(new URL("../../../edge/contract/schemas/", import.meta.url));
const OUT = fileURLToPath(new URL("../src/generated/", import.meta.url));
const WANTED = ["status", "birth", "health", "result", "tombstone"];
/** Code lists that may grow within `v1`. What the page does not know of them it shows as it came. */
const OPEN_LISTS = ["RejectReason", "WithheldReason", "PointSource", "DropReason"];

async function read(name) {
  const schema = JSON.parse(await readFile(`${SCHEMAS}${name}.json`, "utf8"));
  for (const list of OPEN_LISTS) {
    const definition = schema.$defs?.[list];
    if (definition) schema.$defs[list] = { description: definition.description, type: "string" };
  }
  return schema;
}

const there = await readdir(SCHEMAS);
const PAYLOADS = WANTED.filter((name) => there.includes(`${name}.json`));
const schemas = await Promise.all(PAYLOADS.map(read));
const bannerComment = "// Made by scripts/generate.mjs from edge/contract/schemas.";

// One schema that refers to all four, so that a type they share is written once.
const shared = Object.assign({}, ...schemas.map((schema) => schema.$defs ?? {}));
const properties = {};
for (const schema of schemas) {
  const { $schema, $defs, ...body } = schema;
  shared[schema.title] = body;
  properties[schema.title] = { $ref: `#/$defs/${schema.title}` };
}
const types = await compile({ title: "Payloads", type: "object", properties, $defs: shared }, "Payloads", {
  additionalProperties: false, bannerComment, unreachableDefinitions: true,
});

/** Without words, which would all come along into the page. */
const bare = (schema) => JSON.parse(JSON.stringify(schema, (key, value) => (key === "description" && typeof value === "string" ? undefined : value)));

const ajv = new Ajv({
  code: { source: true, esm: true },
  strictTypes: false,
  validateFormats: false,
  schemas: schemas.map((schema, i) => ({ ...bare(schema), $id: PAYLOADS[i] })),
});
const code = standalone(ajv, Object.fromEntries(PAYLOADS.map((name) => [name, name])));
if (code.includes("require(")) throw new Error("the validators need parts of ajv at run time; the page has none");

await mkdir(OUT, { recursive: true });
await writeFile(`${OUT}payloads.ts`, types);
await writeFile(`${OUT}validate.js`, `${bannerComment}\n${code}`);
