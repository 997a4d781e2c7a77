// Tests of tabs that share one connection. All tabs are in one process; the lock manager, the channel and the
// worker are fakes.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { FakeSocket, URL_OF_SERVER, left, newest, settled, stopLater } from "./fakes.js";
import { FakeChannel, FakeWorker } from "./shared-fakes.js";
import { StatusFeed } from "../status-feed.js";

async function opened(options = {}, target = URL_OF_SERVER) {
  const tab = stopLater(StatusFeed.shared(target, options));
  tab.states = [];
  tab.phases = [];
  tab.addEventListener("state", (event) => tab.states.push(event.detail));
  tab.addEventListener("health", () => tab.phases.push(tab.health.phase));
  await settled();
  return tab;
}

async function openedTabs(count, options) {
  const all = [];
  for (let number = 0; number < count; number += 1) all.push(await opened(options));
  return all;
}

async function said(...messages) {
  for (const message of messages) newest().say(message);
  await settled();
}

async function open() {
  newest().open();
  await settled();
}

/** Returns what listeners throw, which would end the test. */
async function uncaught(act) {
  const thrown = [];
  const type = "uncaughtException";
  const listeners = process.listeners(type);
  process.removeAllListeners(type);
  process.on(type, (error) => thrown.push(error));
  act();
  await settled();
  process.removeAllListeners(type);
  for (const listener of listeners) process.on(type, listener);
  return thrown;
}

/** The host's own channel is the one that last said a snapshot. */
const channelOfHost = () => [...FakeChannel.all].find((channel) => channel.last?.type === "snapshot");
const channelsOfTabs = () => [...FakeChannel.all].filter((channel) => channel.last?.type !== "snapshot");
const holder = (all) => all.find((tab) => tab.holdsConnection);

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

test("when the holder goes the next tab connects with its tag, and nothing is repeated or older", async () => {
  const all = await openedTabs(5, { revisionOf: "revision" });
  await open();
  await said('have=1\n{"revision":1}');
  for (let revision = 2; revision < 6; revision += 1) {
    const gone = holder(all);
    const states = [...gone.states];
    gone.stop();
    all.splice(all.indexOf(gone), 1);
    await settled();
    assert.equal(String(newest().url), `${URL_OF_SERVER}?have=${revision - 1}`);
    await open();
    // The server does not honour the tag, and lags behind at first.
    await said(`have=0\n{"revision":0}`, `have=${revision - 1}\n{"revision":${revision - 1}}`);
    await said(`have=${revision}\n{"revision":${revision}}`);
    assert.deepEqual(gone.states, states);
    assert.equal(all[0].health.outdated, 1);
    for (const tab of all) {
      assert.deepEqual(tab.states, Array.from({ length: revision }, (_, index) => ({ revision: index + 1 })));
    }
  }
  assert.equal(FakeSocket.all.length, 5);
  assert.ok(FakeSocket.all.slice(0, -1).every((socket) => socket.closedWith[0] === 1000));
});

test("a state that a new holder is sent again is none, also as bytes", async () => {
  const bytes = (text) => new TextEncoder().encode(text).buffer;
  const all = await openedTabs(2, { binaryType: "arraybuffer" });
  await open();
  await said(bytes("well"));
  holder(all).stop();
  await settled();
  await open();
  await said(bytes("well"), bytes("bell"));
  assert.deepEqual(all[1].states.map((state) => new TextDecoder().decode(state)), ["well", "bell"]);
  // The same connection may repeat a state, as a sign of life.
  await said(bytes("bell"));
  assert.equal(all[1].states.length, 3);
});

test("a tab that is opened while there is no connection gets the state that the holder began with", async () => {
  const all = await openedTabs(2);
  await open();
  mock.timers.tick(1);
  await said("1");
  const received = Date.now();
  mock.timers.tick(1_000);
  holder(all).stop();
  await settled();
  const late = await opened();
  const { phase, lastStateAt } = late.health;
  assert.deepEqual([late.states, phase, lastStateAt], [[1], "connecting", received]);
});

test("what a replaced holder says late counts only if it is newer than what is known", async () => {
  const all = await openedTabs(2);
  const [first, second] = all;
  await open();
  await said("1");
  const channel = channelOfHost();
  assert.ok(channel);
  channel.isHeld = true;
  await said("2");
  first.stop();
  await settled();
  await open();
  assert.deepEqual([second.state, second.health.phase], [1, "open"]);
  const { attempts } = second.health;
  FakeChannel.all.add(channel);
  channel.release();
  await settled();
  assert.deepEqual([second.states, second.health.phase, second.health.attempts], [[1, 2], "open", attempts]);

  await said("3");
  const health = { phase: "stopped" };
  channel.postMessage({ type: "snapshot", order: [1, 1], health, received: { place: [1, 1], data: "0" } });
  await settled();
  assert.deepEqual([second.states, second.health.phase], [[1, 2, 3], "open"]);
  FakeChannel.all.delete(channel);
});

test("a holder that answers nothing is replaced by a visible tab, and gives up when it hears of it", async () => {
  const all = await openedTabs(3);
  await open();
  await said("1");
  const [first] = FakeSocket.all;
  // The holder's channels are gone, as if its tab was suspended.
  for (const channel of [...FakeChannel.all].slice(0, 2)) FakeChannel.all.delete(channel);
  document.visibilityState = "hidden";
  document.dispatchEvent(new Event("visibilitychange"));
  mock.timers.tick(60_000);
  await settled();
  assert.equal(FakeSocket.all.length, 1);

  const see = (visibility) => {
    document.visibilityState = visibility;
    document.dispatchEvent(new Event("visibilitychange"));
  };
  see("visible");
  see("hidden");
  mock.timers.tick(3_000);
  await settled();
  assert.equal(FakeSocket.all.length, 1);
  see("visible");
  await settled();
  mock.timers.tick(2_999);
  await settled();
  assert.equal(FakeSocket.all.length, 1);
  mock.timers.tick(1);
  await settled();
  assert.deepEqual(first.closedWith, [1000, "stopped"]);
  assert.equal(all.filter((tab) => tab.holdsConnection).length, 1);
  await open();
  await said("2");
  const [, ...others] = all;
  for (const tab of others) assert.deepEqual(tab.states, [1, 2]);
});

test("a visible tab asks every ten seconds, and a holder that answers is kept", async () => {
  await openedTabs(3);
  await open();
  let asks = 0;
  const listening = new BroadcastChannel(channelOfHost().name);
  listening.addEventListener("message", ({ data }) => (asks += data.type === "ask"));
  for (let second = 0; second < 60; second += 1) {
    mock.timers.tick(1_000);
    await settled();
  }
  assert.deepEqual([FakeSocket.all.length, asks], [1, 18]);
});

test("a wait whose end a hidden holder has missed ends when another tab asks", async () => {
  const all = await openedTabs(2);
  await open();
  newest().end(1013);
  await settled();
  const end = left(all[0]);
  for (const [ms, phase] of [[end - 1, "waiting"], [end, "connecting"]]) {
    // This runs no timers.
    mock.timers.setTime(ms);
    document.dispatchEvent(new Event("visibilitychange"));
    await settled();
    assert.deepEqual(all.map((tab) => tab.health.phase), [phase, phase]);
  }
});

test("a worker that was killed is started again by a visible tab, and begins with what that has", async () => {
  globalThis.SharedWorker = FakeWorker;
  const all = await openedTabs(2);
  await open();
  mock.timers.tick(1);
  await said("have=1\n1");
  const received = Date.now();
  const channel = channelOfHost();
  FakeChannel.all.delete(channel);
  FakeWorker.running.clear();
  navigator.locks.queues.clear();
  mock.timers.tick(10_000);
  await settled();
  mock.timers.tick(3_000);
  await settled();
  assert.equal(FakeSocket.all.length, 2);
  assert.equal(String(newest().url), `${URL_OF_SERVER}?have=1`);
  assert.deepEqual(all.map((tab) => tab.health.lastStateAt), [received, received]);
  await open();
  await said("1", "2");
  for (const tab of all) assert.deepEqual(tab.states, [1, 2]);
});

test("a tab says when its state was received, also if the host was replaced by one that has none", async () => {
  for (const isWorker of [false, true]) {
    if (isWorker) globalThis.SharedWorker = FakeWorker;
    const all = await openedTabs(3);
    await open();
    mock.timers.tick(1);
    await said("1");
    const received = Date.now();
    mock.timers.tick(5_000);
    if (isWorker) {
      FakeChannel.all.delete(channelOfHost());
      FakeWorker.running.clear();
      navigator.locks.queues.clear();
      await opened(); // This tab starts the worker.
    } else {
      holder(all).stop();
      await settled();
    }
    const others = all.filter((tab) => tab.health.phase !== "stopped");
    for (const tab of others) assert.deepEqual([tab.health.phase, tab.health.lastStateAt], ["connecting", received]);
    for (const tab of all) tab.stop();
    await settled();
  }
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

test("a tab that answers the roll too late gets its connection back", async () => {
  globalThis.SharedWorker = FakeWorker;
  const [first, second] = await openedTabs(2);
  await open();
  const channels = channelsOfTabs();
  document.visibilityState = "hidden";
  channels[1].isHeld = true;
  first.stop();
  await settled();
  mock.timers.tick(3_000);
  await settled();
  assert.equal(newest().closedWith[0], 1000);
  assert.equal(second.health.phase, "stopped");
  channels[1].release();
  await settled();
  assert.equal(FakeSocket.all.length, 2);
  assert.equal(second.health.phase, "connecting");
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

test("a page that is left or frozen gives up the connection, and takes part again when it returns", async () => {
  const ends = { pagehide: [window, "pageshow"], freeze: [document, "resume"] };
  for (const [type, [target, back]] of Object.entries(ends)) {
    const tab = await opened();
    await open();
    await said("1");
    target.dispatchEvent(new Event(type));
    assert.deepEqual(newest().closedWith[0], 1000);
    assert.deepEqual([tab.health.phase, tab.holdsConnection], ["waiting", false]);
    await settled();
    const before = FakeSocket.all.length;
    target.dispatchEvent(Object.assign(new Event(back), { persisted: true }));
    await settled();
    assert.equal(FakeSocket.all.length, before + 1);
    await open();
    await said("1", "2");
    assert.deepEqual(tab.states, [1, 2]);
    tab.stop();
    await settled();
  }
});

test("a worker that a new tab starts after the clock was set back is replaced by a tab", async () => {
  mock.timers.setTime(5_000_000);
  globalThis.SharedWorker = FakeWorker;
  const [tab] = await openedTabs(1);
  await open();
  await said("1");
  const channel = channelOfHost();
  FakeChannel.all.delete(channel);
  FakeWorker.running.clear();
  navigator.locks.queues.clear();
  mock.timers.setTime(1_000_000);
  await opened();
  document.dispatchEvent(new Event("visibilitychange"));
  await settled();
  for (let silence = 0; silence < 2; silence += 1) {
    mock.timers.tick(3_000);
    await settled();
  }
  assert.deepEqual([FakeSocket.all.length, FakeSocket.all[1].closedWith[0]], [3, 1000]);
  await open();
  await said("2");
  assert.deepEqual([tab.states, tab.health.phase], [[1, 2], "open"]);
  // The worker would end with the tab.
  navigator.locks.dropWaiting();
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
