// Tests of the package and its declarations. `cargo xtask client-browser-bindings` runs them in a copy of this
// folder, above which npm's packages are installed.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const MODULE = join(HERE, "..");
const TSC = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin/tsc");
const STRICT = [
  "--strict", "--noEmit", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler",
  "--lib", "es2022,dom", "--types", "",
];

// An empty folder, without a parent that has packages.
const folder = mkdtempSync(join(tmpdir(), "ws-status-feed-"));
after(() => rmSync(folder, { recursive: true }));

function output(program, args, cwd) {
  try {
    return execFileSync(program, args, { cwd, encoding: "utf8", stdio: "pipe" });
  } catch (error) {
    throw new Error(`${program} ${args.join(" ")}: ${error.stdout}${error.stderr}`);
  }
}

const node = (args, cwd) => output(process.execPath, args, cwd);
const manifest = JSON.parse(readFileSync(join(MODULE, "package.json"), "utf8"));

test("the package has the module, its declarations and its README, and nothing else", () => {
  const [{ files }] = JSON.parse(output("npm", ["pack", "--dry-run", "--json"], MODULE));
  const expected = [...manifest.files, "README.md", "package.json"];
  assert.deepEqual(files.map(({ path }) => path).sort(), expected.sort());
});

test("the package installs into an empty folder, can be imported, and is typed in strict mode", () => {
  const [{ filename }] = JSON.parse(output("npm", ["pack", "--json", "--pack-destination", folder], MODULE));
  writeFileSync(join(folder, "package.json"), '{ "private": true, "type": "module" }');
  output("npm", ["install", "--offline", "--no-audit", "--no-fund", `./${filename}`], folder);
  const script = `
    import { StatusFeed } from "ws-status-feed";
    import { ENDINGS } from "ws-status-feed/protocol";
    console.log(typeof StatusFeed.shared, ENDINGS[1001][0]);`;
  assert.equal(node(["--input-type=module", "-e", script], folder), "function soon\n");

  copyFileSync(join(HERE, "user.ts"), join(folder, "user.ts"));
  node([TSC, ...STRICT, "user.ts"], folder);
});

test("the README's example of TypeScript is typed in strict mode", () => {
  const readme = readFileSync(join(MODULE, "README.md"), "utf8");
  const [, code] = /```ts\n(.*?)```/s.exec(readme);
  const copy = join(folder, "readme");
  mkdirSync(copy);
  for (const file of manifest.files) copyFileSync(join(MODULE, file), join(copy, file));
  writeFileSync(join(copy, "readme.ts"), code);
  node([TSC, ...STRICT, "readme.ts"], copy);
});
