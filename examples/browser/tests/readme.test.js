// Runs the examples of the README, each as it stands there.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { mock, test } from "node:test";

import { FakeSocket, connected, left, newest, settled, stopLater } from "./fakes.js";
import { StatusFeed } from "../status-feed.js";

const README = readFileSync(new URL("../README.md", import.meta.url), "utf8");
// The example for Svelte is run by a test beside the store.
const EXAMPLES = [...README.matchAll(/```js\n(.*?)```/gs)]
  .map(([, code]) => code)
  .filter((code) => !code.includes("status-store.js"));

/** What each example is, by its order. A run returns `feed` if the example creates one. */
const RUNS = [];
const example = (name, run) => RUNS.push([name, run]);

/** Runs a part of the example with these names defined, and returns its feed. */
function run(code, names) {
  const body = code.replace('import { StatusFeed } from "./status-feed.js";\n', "");
  const feed = /^const feed =/m.test(body) ? "feed" : "undefined";
  const all = { StatusFeed, ...names };
  const created = new Function(...Object.keys(all), `${body}\nreturn ${feed};`)(...Object.values(all));
  return created && stopLater(created);
}

const recorder = () => {
  const calls = [];
  return [calls, (value) => calls.push(value)];
};

example("the first feed", (code) => {
  const [shown, show] = recorder();
  const [healths, showConnection] = recorder();
  const feed = run(code, { show, showConnection });
  assert.equal(newest().target, "wss://status.example.com/ws/status");
  newest().open();
  newest().say('{"status":"well"}');
  assert.deepEqual([shown, healths.length, healths[0].phase], [[{ status: "well" }], 1, "open"]);
  assert.deepEqual(feed.state, { status: "well" });
});

example("whether the state is current", (code) => {
  const feed = connected();
  const notice = {};
  run(code, { feed, notice });
  newest().open();
  assert.equal(notice.textContent, "There is no status yet.");
  newest().say("well");
  assert.equal(notice.textContent, "");
  newest().end(1006);
  assert.match(notice.textContent, /^As of .+; there may be a newer one\.$/);
});

example("a server that cannot be reached", (code) => {
  const feed = connected();
  const notice = {};
  run(code, { feed, notice });
  for (let attempt = 0; attempt < 5; attempt += 1) {
    newest().end(1006);
    if (attempt < 4) mock.timers.tick(left(feed));
  }
  assert.match(notice.textContent, /^We cannot connect: .* The next attempt is at /);
  feed.start();
  newest().open();
  assert.equal(notice.textContent, "");
});

example("a ticket for each attempt", async (code) => {
  const answers = [
    { status: 503, ok: false }, { status: 200, ok: true, text: async () => "a b" }, { status: 401, ok: false },
  ];
  const feed = run(code, { fetch: async () => answers.shift() });
  await settled();
  assert.equal(feed.health.why, "there was no valid URL: the ticket was refused with 503");
  mock.timers.tick(left(feed));
  await settled();
  assert.equal(newest().target, "wss://status.example.com/ws/status?ticket=a%20b");
  newest().end(1006);
  mock.timers.tick(left(feed));
  await settled();
  assert.equal(feed.health.phase, "stopped");
});

example("resume", (code) => {
  run(code, {});
  assert.equal(newest().url, "wss://status.example.com/ws/status");
});

example("a state that is stored", (code) => {
  const stored = new Map();
  const sessionStorage = {
    getItem: (key) => stored.get(key) ?? null,
    setItem: (key, value) => stored.set(key, value),
  };
  const listeners = [];
  const addEventListener = (_type, listener) => listeners.push(listener);
  const [shown, show] = recorder();
  run(code, { sessionStorage, addEventListener, show });
  listeners[0]();
  assert.equal(stored.get("status"), "null");
  newest().open();
  newest().say("have=1\nwell");
  listeners[0]();
  const feed = run(code, { sessionStorage, addEventListener, show });
  assert.deepEqual([shown, feed.state], [["well"], "well"]);
  assert.equal(String(newest().url), "wss://status.example.com/ws/status?have=1");
});

// What the tabs do is in shared.test.js. Here nothing can be shared, also where Node.js has locks.
example("a shared feed", (code) => {
  const own = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  Object.defineProperty(globalThis, "navigator", { value: {}, configurable: true });
  const [shown, show] = recorder();
  const [healths, showConnection] = recorder();
  run(code, { show, showConnection });
  newest().open();
  newest().say('{"revision":2}');
  newest().say('{"revision":1}');
  assert.deepEqual([shown, healths.length], [[{ revision: 2 }], 1]);
  if (own) Object.defineProperty(globalThis, "navigator", own);
  else delete globalThis.navigator;
});

example("why a page is refused", (code) => {
  const feed = connected();
  const notice = {};
  run(code, { feed, notice });
  const refusals = [
    [3000, "unauthorized", /^Please log in again\.$/],
    [1013, "connection_limit retry=4200", /^The server is full\. The next attempt is at /],
    [1013, "address_limit", /^Too many pages are open\. The next/],
    [1013, "draining", /^There is no connection\. The next/],
    [3003, "forbidden", /^You may not see this status\.$/],
  ];
  for (const [code, reason, words] of refusals) {
    newest().open();
    assert.equal(notice.textContent, "");
    newest().end(code, reason);
    assert.match(notice.textContent, words);
    feed.start();
    assert.match(notice.textContent, words);
  }
});

for (const [index, [name, check]] of RUNS.entries()) {
  test(`the README's example works: ${name}`, () => check(EXAMPLES[index]));
}

test("every example of the README is run", () => {
  assert.equal(EXAMPLES.length, RUNS.length);
  assert.equal(FakeSocket.all.length, 0);
});
