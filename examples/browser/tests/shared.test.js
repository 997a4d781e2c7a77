// Tests of tabs that share one connection. All tabs are in one process; the lock manager, the channel and the
// worker are fakes.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { FakeSocket, URL_OF_SERVER, left, newest, settled } from "./fakes.js";
import {
  FakeChannel, FakeWorker, channelOfHost, holder, open, opened, openedTabs, said, uncaught,
} from "./shared-fakes.js";
import { StatusFeed } from "../status-feed.js";

test("tabs share one connection, and each is told every state once", async () => {
  for (const isWorker of [false, true]) {
    if (isWorker) globalThis.SharedWorker = FakeWorker;
    FakeSocket.all = [];
    const all = await openedTabs(10);
    await open();
    await said('{"status":"well"}', "text", '{"status":"better"}');
    assert.equal(FakeSocket.all.length, 1);
    for (const tab of all) {
      assert.deepEqual(tab.states, [{ status: "well" }, "text", { status: "better" }]);
      assert.deepEqual(tab.state, { status: "better" });
      assert.equal(tab.health.phase, "open");
      assert.equal(tab.health.lastStateAt, Date.now());
    }
    assert.equal(all.filter((tab) => tab.holdsConnection).length, isWorker ? 0 : 1);
    for (const tab of all) tab.stop();
    await settled();
    mock.timers.tick(3_000);
  }
});

test("a tab that is opened later gets the newest state at once", async () => {
  await opened();
  await open();
  await said("1", "2");
  const late = await opened();
  assert.deepEqual([late.states, late.health.phase], [[2], "open"]);
});

test("a worker that is forbidden is replaced by the lock", async () => {
  globalThis.SharedWorker = FakeWorker;
  FakeWorker.isForbidden = true;
  const all = await openedTabs(3);
  await open();
  await said("1");
  assert.ok(holder(all));
  assert.equal(FakeSocket.all.length, 1);

  globalThis.SharedWorker = class {
    constructor() {
      throw new DOMException("another origin", "SecurityError");
    }
  };
  const late = await opened();
  assert.deepEqual(late.states, [1]);
});

test("a tab that stops hears nothing more, and the connection ends with the last one", async () => {
  for (const isWorker of [false, true]) {
    if (isWorker) globalThis.SharedWorker = FakeWorker;
    const all = await openedTabs(3);
    await open();
    const socket = newest();
    await said("1");
    const [first, ...others] = all;
    first.stop();
    await settled();
    mock.timers.tick(3_000);
    // The first tab held the connection, if no worker does.
    assert.equal(newest() === socket, isWorker);
    await said("2");
    const { phase, why } = first.health;
    assert.deepEqual([first.states, phase, why], [[1], "stopped", "the page called stop()"]);
    assert.deepEqual(others.map((tab) => tab.state), [2, 2]);

    for (const tab of others) tab.stop();
    await settled();
    mock.timers.tick(3_000);
    assert.deepEqual(newest().closedWith, [1000, "stopped"]);
    const before = FakeSocket.all.length;
    mock.timers.tick(3_600_000);
    await settled();
    assert.equal(FakeSocket.all.length, before);

    first.start();
    await settled();
    assert.equal(FakeSocket.all.length, before + 1);
    assert.equal(first.health.phase, "connecting");
    first.stop();
    await settled();
    mock.timers.tick(3_000);
  }
});

test("a tab that stops before it gets the lock opens nothing", async () => {
  StatusFeed.shared(URL_OF_SERVER).stop();
  await settled();
  assert.equal(FakeSocket.all.length, 0);
});

test("a tab ignores an older state although a holder has it", async () => {
  const [tab] = await openedTabs(1, { revisionOf: "revision" });
  await open();
  await said('{"revision":2}');
  for (const revision of [1, 3]) {
    const received = { place: [2 ** 40, revision], data: JSON.stringify({ revision }) };
    channelOfHost().deliver({ type: "snapshot", order: [2 ** 40, revision], health: tab.health, received });
    await settled();
  }
  assert.deepEqual(tab.states, [{ revision: 2 }, { revision: 3 }]);
});

test("start connects at once for all tabs, and a new tab tries once more after a stop of the server", async () => {
  const all = await openedTabs(2);
  await open();
  newest().end(1013);
  await settled();
  assert.equal(left(all[1]), 15_000);
  const third = await opened();
  assert.equal(third.health.phase, "waiting", "a new tab does not shorten a wait");
  const other = all.find((tab) => !tab.holdsConnection);
  other.start();
  await settled();
  assert.deepEqual(all.map((tab) => tab.health.phase), ["connecting", "connecting"]);

  newest().open();
  newest().end(3003);
  await settled();
  assert.deepEqual(all.map((tab) => tab.health.why), Array(2).fill("the server forbids this connection"));
  const fourth = await opened();
  assert.equal(fourth.health.phase, "connecting");
});

test("tabs share with the same URL and options, in any order, and with no other", async () => {
  await opened({ quietMs: 5, capMs: 40_000 });
  await opened({ capMs: 40_000, quietMs: 5, baseMs: 1_000 });
  assert.equal(FakeSocket.all.length, 1);
  await opened({ quietMs: 6, capMs: 40_000 });
  await opened({ quietMs: 5, capMs: 40_000 }, `${URL_OF_SERVER}?team=red`);
  await opened({ quietMs: 5, capMs: 40_000 }, { url: URL_OF_SERVER, protocols: ["status.v1"] });
  assert.equal(FakeSocket.all.length, 4);
  assert.deepEqual(newest().protocols, ["status.v1"]);
});

test("each tab parses, also with a function of its own", async () => {
  const [one] = await openedTabs(1, { parse: (text) => text.length });
  const [other] = await openedTabs(1, { parse: (text) => text.toUpperCase() });
  await open();
  await said("well");
  assert.deepEqual([FakeSocket.all.length, one.state, other.state], [1, 4, "WELL"]);
});

test("what a worker cannot take throws, and so does an invalid URL or wait", () => {
  for (const [error, target, options] of [
    [TypeError, () => URL_OF_SERVER, {}],
    [TypeError, URL_OF_SERVER, { revisionOf: (state) => state.revision }],
    [TypeError, URL_OF_SERVER, { known: { state: 1 } }],
    [DOMException, "mailto:x", {}],
    [DOMException, `${URL_OF_SERVER}#part`, {}],
    [DOMException, `${URL_OF_SERVER}#`, {}],
    [DOMException, { url: URL_OF_SERVER, protocols: ["a", "b", "a"] }, {}],
    [DOMException, { url: URL_OF_SERVER, protocols: ["a b"] }, {}],
    [DOMException, { url: URL_OF_SERVER, protocols: "" }, {}],
    [RangeError, URL_OF_SERVER, { baseMs: 0 }],
  ]) {
    assert.throws(() => StatusFeed.shared(target, options), error);
    const { locks } = navigator;
    delete navigator.locks;
    assert.throws(() => StatusFeed.shared(target, options), { name: /Error$/ });
    navigator.locks = locks;
  }
  assert.equal(FakeChannel.all.size, 0);
});

test("a relative URL is resolved by the page", async () => {
  await opened({}, "/ws/status");
  assert.equal(newest().target, "https://app.example/ws/status");
});

test("a page that may not use locks has a connection of its own, and ends it", async () => {
  navigator.locks.request = () => Promise.reject(new DOMException("a sandbox", "SecurityError"));
  const tab = await opened();
  await open();
  await said("1");
  assert.deepEqual([tab.states, tab.holdsConnection], [[1], true]);
  tab.stop();
  assert.deepEqual([newest().closedWith, tab.holdsConnection], [[1000, "stopped"], false]);
});

test("where neither a worker nor a lock can be had, each tab has a connection of its own", async () => {
  delete navigator.locks;
  globalThis.SharedWorker = FakeWorker;
  FakeWorker.isForbidden = true;
  const all = await openedTabs(2);
  assert.equal(FakeSocket.all.length, 2);
  const [first, second] = FakeSocket.all;
  first.open();
  first.say("1");
  await settled();
  assert.deepEqual(all.map((tab) => [tab.health.phase, tab.state]), [["open", 1], ["connecting", undefined]]);
  all[0].stop();
  await settled();
  assert.deepEqual([first.closedWith, second.closedWith], [[1000, "stopped"], undefined]);
  window.dispatchEvent(new Event("pagehide"));
  window.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
  await settled();
  assert.deepEqual([FakeSocket.all.length, all[1].health.phase], [3, "connecting"]);
});

test("a connection that the browser refuses leaves every tab stopped, with the reason", async () => {
  for (const isWorker of [false, true]) {
    if (isWorker) globalThis.SharedWorker = FakeWorker;
    let attempts = 0;
    globalThis.WebSocket = class {
      constructor() {
        attempts += 1;
        throw new DOMException("the page was loaded by https:", "SecurityError");
      }
    };
    const all = await openedTabs(2);
    for (let second = 0; second < 60; second += 1) {
      mock.timers.tick(1_000);
      await settled();
    }
    assert.equal(attempts, 1);
    for (const { health: { phase, why }, holdsConnection } of all) {
      const words = "the browser refuses to connect: the page was loaded by https:";
      assert.deepEqual([phase, why, holdsConnection], ["stopped", words, false]);
    }
    for (const tab of all) tab.stop();
    await settled();
  }
});

test("a tab whose function parse throws is not sent that state again", async () => {
  let calls = 0;
  const parse = (text) => ((calls += 1), JSON.parse(text));
  const [tab] = await openedTabs(1, { parse });
  await open();
  const thrown = await uncaught(() => newest().say("no JSON"));
  assert.deepEqual([thrown.map(({ name }) => name), calls], [["SyntaxError"], 1]);
  let told;
  const listening = new BroadcastChannel(channelOfHost().name);
  listening.addEventListener("message", ({ data }) => (told = data));
  document.dispatchEvent(new Event("visibilitychange"));
  await settled();
  assert.deepEqual([told.type, told.received, calls], ["snapshot", undefined, 1]);
});

test("a tab whose function parse throws is told the health of the same message", async () => {
  const [tab] = await openedTabs(1, { parse: JSON.parse });
  await open();
  const place = [2 ** 40, 1];
  const message = { type: "snapshot", order: place, health: { phase: "stopped" }, received: { place, data: "{" } };
  const thrown = await uncaught(() => channelOfHost().deliver(message));
  assert.deepEqual([thrown.length, tab.phases.at(-1)], [1, "stopped"]);
});

test("a browser that cannot share has a connection for each tab", async () => {
  delete navigator.locks;
  const all = await openedTabs(2);
  assert.ok(all.every((tab) => tab instanceof StatusFeed && tab.holdsConnection));
  assert.equal(FakeSocket.all.length, 2);
  all[0].stop();
  assert.equal(all[0].holdsConnection, false);
});
