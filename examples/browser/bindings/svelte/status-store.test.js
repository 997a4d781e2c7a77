// Tests of the store with Svelte. `cargo xtask client-browser-bindings` runs them.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { get } from "svelte/store";

import { FakeSocket, newest } from "../../tests/fakes.js";
import { statusStore } from "./status-store.js";

const URL_OF_SERVER = "ws://status.example/ws/status";

test("the store has the newest state and the health, and a connection while it has subscribers", () => {
  const store = statusStore(URL_OF_SERVER);
  assert.equal(FakeSocket.all.length, 0);
  const values = [];
  const unsubscribe = store.subscribe(({ state, health }) => values.push([state, health.phase]));
  const second = [];
  const unsubscribeSecond = store.subscribe(({ state }) => second.push(state));
  newest().open();
  newest().say('"well"');
  assert.deepEqual(values, [[undefined, "connecting"], [undefined, "open"], ["well", "open"]]);
  assert.equal(second.at(-1), "well");
  assert.equal(FakeSocket.all.length, 1);
  unsubscribe();
  assert.equal(newest().closedWith, undefined);
  unsubscribeSecond();
  assert.deepEqual(newest().closedWith, [1000, "stopped"]);
});

test("a store that has subscribers again begins with what it had", () => {
  const store = statusStore(URL_OF_SERVER);
  const unsubscribe = store.subscribe(() => {});
  newest().open();
  newest().say('have=1\n"well"');
  unsubscribe();
  assert.equal(get(store).state, "well");
  assert.equal(String(newest().url), `${URL_OF_SERVER}?have=1`);
});

test("a state of the options is the first one only, and not again after a newer one", () => {
  const store = statusStore(URL_OF_SERVER, { known: { state: "old" }, revisionOf: undefined });
  const unsubscribe = store.subscribe(() => {});
  assert.equal(get(store).state, "old");
  newest().open();
  newest().say('"new"');
  unsubscribe();
  assert.equal(get(store).state, "new");
});

test("a subscriber can stop the feed and start it", () => {
  const store = statusStore(URL_OF_SERVER);
  let now;
  const unsubscribe = store.subscribe((value) => (now = value));
  now.feed.stop();
  assert.equal(now.health.phase, "stopped");
  now.feed.start();
  assert.equal(now.health.phase, "connecting");
  unsubscribe();
});

test("the README's example of Svelte works", () => {
  const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
  const examples = [...readme.matchAll(/```js\n(.*?)```/gs)].map(([, example]) => example);
  const code = examples.find((example) => example.includes("statusStore"));
  const shown = [];
  const body = `${code.replace(/^import .*\n/m, "")}\nreturn unsubscribe;`;
  const unsubscribe = new Function("statusStore", "show", body)(statusStore, (...values) => shown.push(values));
  newest().open();
  newest().say('"well"');
  assert.deepEqual(shown.at(-1), ["well", "open"]);
  unsubscribe();
});
