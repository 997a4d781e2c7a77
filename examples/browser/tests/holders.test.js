// Tests of what tabs that share a connection keep when another tab or worker holds it.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { FakeSocket, URL_OF_SERVER, left, newest, settled } from "./fakes.js";
import {
  FakeChannel, FakeWorker, channelOfHost, channelsOfTabs, holder, open, opened, openedTabs, said,
} from "./shared-fakes.js";

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
