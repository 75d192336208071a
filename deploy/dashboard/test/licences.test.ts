import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const PERMISSIVE = new Set(["0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "PSF-2.0", "Python-2.0"]);

test("every package has a permissive licence and is known by its hash", () => {
  const lock = JSON.parse(readFileSync("package-lock.json", "utf8")) as { packages: Record<string, { license?: string; integrity?: string; resolved?: string }> };
  const packages = Object.entries(lock.packages).filter(([path]) => path !== "");
  assert.ok(packages.length > 20);
  for (const [path, { license, integrity, resolved }] of packages) {
    assert.ok(license && PERMISSIVE.has(license), `${path}: ${license}`);
    assert.ok(integrity, `${path} has no hash`);
    assert.equal(resolved, undefined, `${path} is tied to one registry`);
  }
});
