// Tests of states, waits and the tables of the README.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { mock, test } from "node:test";

import { FakeSocket, URL_OF_SERVER, chance, connected, left, newest, session } from "./fakes.js";
import { ENDINGS, explain, failuresAfter, waitMs } from "../protocol.js";
import { StatusFeed } from "../status-feed.js";

const VERDICTS = ["soon", "back off", "later", "stop"];

/** The rows of the first table below a heading. */
function table(text, heading) {
  const lines = text.split(heading)[1].split("\n");
  const begin = lines.findIndex((line) => line.startsWith("|"));
  const end = lines.findIndex((line, index) => index > begin && !line.startsWith("|"));
  const rows = lines.slice(begin + 2, end);
  return rows.map((row) => row.split("|").slice(1, -1).map((cell) => cell.trim()));
}

const read = (path) => readFileSync(new URL(path, import.meta.url), "utf8");

test("a wait is anything from nothing up to a window that doubles, and never above its cap", () => {
  const options = { baseMs: 1_000, capMs: 30_000, unreachableCapMs: 300_000 };
  for (let failures = 0; failures < 2_000; failures += 1) {
    for (const [unopened, cap] of [[0, 30_000], [failures, 300_000]]) {
      const counts = { failures, unopened };
      const doubled = Math.min(cap, 1_000 * 2 ** failures);
      for (const verdict of ["soon", "back off", "later"]) {
        const window = verdict === "later" ? 30_000 : doubled;
        assert.equal(waitMs(verdict, counts, 0, options), 0);
        assert.equal(waitMs(verdict, counts, 0.25, options), window / 4);
      }
    }
  }
});

test("failures are cleared only after a session that was steady, and 1001 and 1012 are none then", () => {
  for (const verdict of VERDICTS) {
    assert.equal(failuresAfter(verdict, false, 5), 6);
    assert.equal(failuresAfter(verdict, true, 5), verdict === "soon" ? 0 : 1);
  }
});

test("every code has the verdict that the README documents", () => {
  const documented = table(read("../README.md"), "## What is done at each close code");
  const rows = new Map(documented.map(([code, verdict]) => [code, verdict]));
  for (let code = 1000; code < 5000; code += 1) {
    const range = code >= 3000 ? "other 3000–4999" : "any other";
    assert.equal(explain(code, true).verdict, rows.get(String(code)) ?? rows.get(range), `${code}`);
  }
  const written = [...rows.keys()].filter((code) => /^\d+$/.test(code));
  assert.deepEqual(written, Object.keys(ENDINGS));
});

test("every close code of the API document is known", () => {
  const rows = table(read("../../../docs/api/endpoint.md"), "## Close codes");
  assert.ok(rows.length > 5);
  for (const [code] of rows) assert.ok(code in ENDINGS, code);
});

test("the README names every option with its default", () => {
  const rows = table(read("../README.md"), "## The options");
  const source = read("../options.js").split("const DEFAULTS = {")[1].split("};")[0];
  const defaults = new Map(
    [...source.matchAll(/^ {2}(\w+): (.*),$/gm)].map(([, name, value]) => [name, value]),
  );
  assert.deepEqual(rows.map(([name]) => name.replaceAll("`", "")), [...defaults.keys()]);
  for (const [name, value] of rows.filter(([, value]) => /^\d+$/.test(value))) {
    assert.equal(defaults.get(name.replaceAll("`", "")).replaceAll("_", ""), value, name);
  }
});

test("an invalid URL and times that are out of range throw, and leave no socket or listener", () => {
  assert.throws(() => new StatusFeed("mailto:x"), SyntaxError);
  const wrong = [
    { baseMs: 0 }, { baseMs: NaN }, { capMs: Infinity }, { capMs: 1 },
    { unreachableCapMs: NaN }, { unreachableCapMs: Infinity },
    { maxRetryMs: 0 }, { maxRetryMs: NaN }, { maxRetryMs: Infinity }, { maxRetryMs: 2 ** 31 },
    { connectTimeoutMs: 0 },
  ];
  for (const name of ["connectTimeoutMs", "quietMs", "steadyMs"]) {
    for (const value of [-1, NaN, Infinity, 2 ** 31, null, "5"]) wrong.push({ [name]: value });
  }
  for (const options of wrong) {
    assert.throws(() => new StatusFeed(URL_OF_SERVER, options), RangeError);
  }
  assert.equal(FakeSocket.all.length + window.count + document.count, 0);
});

test("an option that is undefined has its default", () => {
  const names = table(read("../README.md"), "## The options").map(([name]) => name.replaceAll("`", ""));
  const feed = connected(Object.fromEntries(names.map((name) => [name, undefined])));
  newest().open();
  newest().say('{"status":"well"}');
  mock.timers.tick(86_400_000);
  assert.deepEqual([feed.states, feed.health.phase], [[{ status: "well" }], "open"]);
  newest().end(1001);
  assert.equal(left(feed), 500);
  mock.timers.tick(500 + 9_999);
  assert.equal(feed.health.phase, "connecting");
});

test("states are JSON or text, and the newest is kept", () => {
  const feed = connected();
  newest().open();
  newest().say('{"status": "well"}');
  mock.timers.tick(70);
  newest().say("all is well");
  assert.deepEqual(feed.states, [{ status: "well" }, "all is well"]);
  assert.equal(feed.state, "all is well");
  assert.equal(feed.health.lastStateAt, Date.now());
});

test("a state that is older than the newest is ignored, also from another server", () => {
  const feed = connected({ revisionOf: (state) => state?.revision });
  newest().open();
  newest().say('{"revision": 7}');
  session(20_000, 1001);
  mock.timers.tick(1_000);
  newest().open();
  for (const state of ['{"revision": 6}', '{"revision": 7}', "no revision", '{"revision": 8}']) {
    newest().say(state);
  }
  assert.deepEqual(feed.states, [
    { revision: 7 },
    { revision: 7 },
    "no revision",
    { revision: 8 },
  ]);
  assert.equal(feed.health.outdated, 1);
});

test("a revision that is no number orders nothing", () => {
  for (const revisionOf of ["revision", (state) => state.revision]) {
    const feed = connected({ revisionOf });
    newest().open();
    for (const revision of [10, "9", "11", null, true, [1]]) newest().say(JSON.stringify({ revision }));
    newest().say('{"revision":9}');
    assert.deepEqual([feed.states.length, feed.health.outdated], [6, 1]);
    feed.stop();
  }
});

test("after 1001 and 1012 it reconnects within the shortest window, however often", () => {
  const feed = connected();
  for (let restart = 0; restart < 20; restart += 1) {
    session(10_000, restart % 2 ? 1001 : 1012);
    assert.equal(feed.health.failures, 0);
    assert.equal(left(feed), 500);
    mock.timers.tick(500);
    assert.equal(feed.health.phase, "connecting");
  }
  assert.equal(feed.health.attempts, 21);
});

test("a server that accepts and closes at once is contacted ever more rarely, with any code", () => {
  for (const code of [1001, 1006, 1012]) {
    const feed = connected();
    const waits = [];
    for (let attempt = 0; attempt < 7; attempt += 1) {
      session(100, code);
      waits.push(left(feed));
      mock.timers.tick(left(feed));
    }
    assert.deepEqual(waits, [1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
    feed.stop();
  }
});

test("after 1011 and 1013 the first wait is within the longest window", () => {
  for (const code of [1011, 1013]) {
    const feed = connected();
    session(60_000, code);
    assert.equal(left(feed), 15_000);
    feed.stop();
  }
});

test("a connection that was never open is reported as such, and is tried again", () => {
  const feed = connected();
  newest().end(1006);
  assert.equal(feed.health.phase, "waiting");
  assert.equal(feed.health.lastEnding.opened, false);
  assert.match(feed.health.why, /cannot be reached, or refused/);
  mock.timers.tick(left(feed));
  session(60_000, 1006);
  assert.match(feed.health.why, /broke/);
  assert.equal(left(feed), 1_000);
});

test("an ending that another attempt cannot fix stops it, until it is started again", () => {
  const codes = [1000, 1002, 1003, 1007, 1008, 1009, 1010, 3001, 3003, 4000, 4999];
  for (const code of codes) {
    const feed = connected();
    session(60_000, code);
    assert.equal(feed.health.phase, "stopped", `${code}`);
    assert.equal(feed.health.lastEnding.code, code);
    const before = FakeSocket.all.length;
    window.dispatchEvent(new Event("online"));
    mock.timers.tick(3_600_000);
    assert.equal(FakeSocket.all.length, before);
    feed.start();
    assert.equal(feed.health.phase, "connecting");
    feed.stop();
  }
});

test("an option sets the verdicts of the application's codes", () => {
  const feed = connected({ verdicts: { 4000: "back off", 1001: "stop" } });
  session(60_000, 4000);
  assert.equal(left(feed), 1_000);
  mock.timers.tick(1_000);
  session(60_000, 1001);
  assert.equal(feed.health.phase, "stopped");
});

test("an attempt without an answer times out", () => {
  const feed = connected();
  const first = newest();
  mock.timers.tick(10_000);
  assert.deepEqual(first.closedWith, [1000, "timeout"]);
  assert.equal(feed.health.phase, "waiting");
  assert.equal(feed.health.why, "there was no answer within 10 s");
  // The end of the abandoned socket comes late, and is ignored.
  first.end(1000);
  assert.equal(feed.health.phase, "waiting");
});

test("a silent connection is kept, or closed after the time of the option", () => {
  const unlimited = connected();
  newest().open();
  mock.timers.tick(86_400_000);
  assert.equal(unlimited.health.phase, "open");

  const feed = connected({ quietMs: 5_000 });
  const first = newest();
  first.open();
  mock.timers.tick(4_999);
  first.say("1");
  mock.timers.tick(4_999);
  assert.equal(feed.health.phase, "open");
  mock.timers.tick(1);
  assert.deepEqual(first.closedWith, [3008, "quiet"]);
  assert.equal(feed.health.why, "nothing came for 5 s");
  first.say("2");
  assert.deepEqual(feed.states, [1]);
});

test("after the verdict later a wait is not shortened", () => {
  const feed = connected();
  session(60_000, 1013);
  window.dispatchEvent(new Event("online"));
  assert.equal(left(feed), 15_000);
  mock.timers.tick(15_000);
  assert.equal(feed.health.phase, "connecting");
});

test("a page that is left closes its connection, and connects again when it is restored", () => {
  const feed = connected();
  newest().open();
  window.dispatchEvent(new Event("pagehide"));
  assert.deepEqual(newest().closedWith, [1000, "page left"]);
  mock.timers.tick(3_600_000);
  assert.equal(FakeSocket.all.length, 1);
  window.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
  mock.timers.tick(0);
  assert.equal(feed.health.phase, "connecting");
  assert.equal(feed.health.failures, 0);
});

test("a page that is shown for the first time does not shorten a wait", () => {
  const feed = connected();
  for (let attempt = 0; attempt < 3; attempt += 1) {
    if (feed.health.phase === "waiting") mock.timers.tick(left(feed));
    newest().end(1006);
  }
  for (const [persisted, wait] of [[false, 4_000], [true, 500]]) {
    window.dispatchEvent(Object.assign(new Event("pageshow"), { persisted }));
    assert.equal(left(feed), wait);
  }
});

test("a page that is left while it waits keeps its time", () => {
  const feed = connected();
  session(60_000, 1013);
  const { until } = feed.health;
  window.dispatchEvent(new Event("pagehide"));
  mock.timers.tick(1_000);
  window.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
  assert.equal(feed.health.until, until);
});

test("a call of start tries at once, and does not shorten the next wait", () => {
  const feed = connected();
  for (let attempt = 1; attempt < 4; attempt += 1) {
    newest().end(1006);
    assert.equal(feed.health.failures, attempt);
    feed.start();
    assert.equal(feed.health.phase, "connecting");
    feed.start();
    assert.equal(FakeSocket.all.length, attempt + 1);
  }
});

test("a listener can stop it, and nothing follows", () => {
  for (const phase of ["connecting", "open", "waiting"]) {
    const feed = connected();
    feed.stop();
    feed.addEventListener("health", () => feed.health.phase === phase && feed.stop());
    feed.start();
    newest().open();
    newest().end(1006);
    assert.equal(feed.health.phase, "stopped", phase);
    const before = FakeSocket.all.length;
    mock.timers.tick(3_600_000);
    assert.equal(FakeSocket.all.length, before);
    assert.equal(window.count + document.count, 0);
  }
});
