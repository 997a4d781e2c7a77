// Tests of attempts: where they connect to, and what follows if they are refused.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { FakeSocket, URL_OF_SERVER, chance, connected, left, newest, session, settled } from "./fakes.js";

/** Target functions whose calls the test answers itself. */
function asked() {
  const calls = [];
  const targetOf = ({ signal }) => {
    return new Promise((resolve, reject) => calls.push({ signal, resolve, reject }));
  };
  return [calls, targetOf];
}

/** Ends attempts without an open connection until `count` have ended, and returns the waits after them. */
function refuse(feed, count) {
  const waits = [];
  for (let attempt = 0; attempt < count; attempt += 1) {
    if (feed.health.phase === "waiting") mock.timers.tick(left(feed));
    newest().end(1006);
    waits.push(left(feed));
  }
  return waits;
}

test("a function is asked for the URL of each attempt, and may return a promise", async () => {
  let ticket = 0;
  for (const wrap of [(url) => url, (url) => new URL(url), async (url) => url]) {
    const feed = connected({}, () => wrap(`${URL_OF_SERVER}?ticket=${(ticket += 1)}`));
    for (let attempt = 0; attempt < 3; attempt += 1) {
      await settled();
      assert.equal(newest().target, `${URL_OF_SERVER}?ticket=${ticket}`);
      session(60_000, 1001);
      mock.timers.tick(left(feed));
    }
    feed.stop();
  }
  assert.equal(ticket, 9);
});

test("subprotocols are offered, the same ones each time or those of a function", async () => {
  connected();
  assert.deepEqual(newest().protocols, []);
  connected({}, { url: URL_OF_SERVER, protocols: ["status.v1"] });
  assert.deepEqual([newest().target, newest().protocols], [URL_OF_SERVER, ["status.v1"]]);
  connected({}, async () => ({ url: new URL(URL_OF_SERVER), protocols: "ticket.5" }));
  await settled();
  assert.deepEqual([newest().target, newest().protocols], [URL_OF_SERVER, "ticket.5"]);
});

test("a function that fails, or returns no valid URL, is a failed attempt and is asked again", async () => {
  const wrong = [
    [() => { throw new Error("no ticket"); }, "no ticket"],
    [() => Promise.reject(new Error("HTTP 503")), "HTTP 503"],
    [() => Promise.reject("nothing"), "nothing"],
    [() => "mailto:x", "mailto:x is not the URL of a WebSocket"],
  ];
  for (const [targetOf, words] of wrong) {
    let calls = 0;
    const feed = connected({}, (attempt) => ((calls += 1), targetOf(attempt)));
    for (let attempt = 1; attempt < 4; attempt += 1) {
      await settled();
      assert.equal(calls, attempt);
      const { phase, why, failures, lastEnding } = feed.health;
      assert.deepEqual([phase, failures], ["waiting", attempt]);
      // The words of the browser have the URL with the tag.
      assert.equal(why.replace("?have=", ""), `there was no valid URL: ${words}`);
      assert.deepEqual([lastEnding.code, lastEnding.opened], [1006, false]);
      assert.equal(left(feed), 500 * 2 ** attempt);
      mock.timers.tick(left(feed));
    }
    feed.stop();
  }
  assert.equal(FakeSocket.all.length, 0);
});

test("a function that takes too long is a failed attempt, and its late answer is ignored", async () => {
  const [calls, targetOf] = asked();
  const feed = connected({}, targetOf);
  await settled();
  calls[0].resolve(URL_OF_SERVER);
  await settled();
  session(60_000, 1001);
  mock.timers.tick(500);
  await settled();

  mock.timers.tick(9_999);
  assert.equal(feed.health.phase, "connecting");
  assert.equal(calls[1].signal.aborted, false);
  mock.timers.tick(1);
  assert.equal(calls[1].signal.aborted, true);
  assert.equal(feed.health.why, "there was no URL within 10 s");
  assert.equal(left(feed), 1_000);
  mock.timers.tick(1_000);
  await settled();
  assert.equal(calls.length, 3);
  calls[1].resolve(URL_OF_SERVER);
  await settled();
  assert.equal(FakeSocket.all.length, 1);
  assert.equal(feed.health.phase, "connecting");
});

test("the time of an attempt begins when the function is asked", async () => {
  const [calls, targetOf] = asked();
  const feed = connected({}, targetOf);
  await settled();
  mock.timers.tick(6_000);
  calls[0].resolve(URL_OF_SERVER);
  await settled();
  mock.timers.tick(4_000);
  assert.deepEqual(newest().closedWith, [1000, "timeout"]);
  assert.equal(feed.health.why, "there was no answer within 10 s");
});

test("a feed that is stopped or left while a function is asked opens nothing later", async () => {
  const ends = {
    stopped: (feed) => feed.stop(),
    waiting: () => window.dispatchEvent(new Event("pagehide")),
  };
  for (const [phase, end] of Object.entries(ends)) {
    for (const answer of ["resolve", "reject"]) {
      const [calls, targetOf] = asked();
      const feed = connected({}, targetOf);
      await settled();
      end(feed);
      assert.equal(calls[0].signal.aborted, true);
      calls[0][answer](URL_OF_SERVER);
      await settled();
      mock.timers.tick(3_600_000);
      assert.deepEqual([feed.health.phase, feed.health.failures], [phase, 0]);
      assert.equal(FakeSocket.all.length, 0);
      feed.stop();
    }
  }
});

test("a function may stop the feed, as for a user who has logged out", async () => {
  const feed = connected({}, () => {
    feed.stop();
    throw new Error("logged out");
  });
  await settled();
  mock.timers.tick(3_600_000);
  assert.equal(feed.health.phase, "stopped");
  assert.equal(feed.health.why, "the page called stop()");
  assert.equal(feed.health.attempts, 1);
});

test("a function is not asked if a listener stops the feed when the attempt begins", async () => {
  const [calls, targetOf] = asked();
  const feed = connected({}, targetOf);
  feed.addEventListener("health", () => feed.health.phase === "connecting" && feed.stop());
  feed.stop();
  feed.start();
  await settled();
  assert.equal(calls.length, 0);
});

test("there is one attempt at a time, whatever happens while a function is asked", async () => {
  const [calls, targetOf] = asked();
  const feed = connected({}, targetOf);
  await settled();
  feed.start();
  window.dispatchEvent(new Event("online"));
  document.dispatchEvent(new Event("visibilitychange"));
  mock.timers.tick(5_000);
  await settled();
  assert.equal(calls.length, 1);

  feed.stop();
  feed.start();
  await settled();
  assert.equal(calls.length, 2);
  for (const [index, { resolve }] of calls.entries()) resolve(`${URL_OF_SERVER}?ticket=${index}`);
  await settled();
  assert.deepEqual(FakeSocket.all.map(({ target }) => target), [`${URL_OF_SERVER}?ticket=1`]);
});

test("after 3000 it asks for a new URL soon, and backs off if sessions end so at once", async () => {
  let calls = 0;
  const feed = connected({}, () => ((calls += 1), URL_OF_SERVER));
  const waits = [];
  for (const ms of [3_600_000, 3_600_000, 100, 100, 100, 3_600_000]) {
    await settled();
    session(ms, 3000);
    assert.match(feed.health.why, /expired/);
    waits.push(left(feed));
    mock.timers.tick(left(feed));
  }
  assert.deepEqual(waits, [500, 500, 1_000, 2_000, 4_000, 500]);
  await settled();
  assert.equal(calls, 7);
});

test("after 3003 and the codes of applications it stops, unless an option says otherwise", () => {
  const words = { 3003: "the server forbids this connection", 4000: "the application closed it" };
  for (const code of [3003, 4000]) {
    const stopped = connected();
    session(60_000, code);
    assert.deepEqual([stopped.health.phase, stopped.health.why], ["stopped", words[code]]);
    const feed = connected({ verdicts: { [code]: "soon" } });
    session(60_000, code);
    assert.equal(left(feed), 500);
    feed.stop();
  }
});

test("a page that is refused again and again waits for minutes and says so", () => {
  const feed = connected();
  const reported = [];
  feed.addEventListener("health", () => {
    const { phase, unreachable } = feed.health;
    if (phase === "waiting") reported.push(unreachable);
  });
  const waits = refuse(feed, 11);
  const seconds = [1, 2, 4, 8, 16, 32, 64, 128, 150, 150, 150];
  assert.deepEqual(waits, seconds.map((wait) => 1_000 * wait));
  // The window of a wait exceeds capMs from the fifth on.
  assert.deepEqual(reported, waits.map((_, index) => index >= 4));
  assert.equal(feed.health.unopened, 11);
  assert.equal(feed.health.until, Date.now() + 150_000);
  mock.timers.tick(150_000);
  assert.deepEqual([feed.health.phase, feed.health.unreachable], ["connecting", true]);
  feed.stop();
  assert.deepEqual([feed.health.phase, feed.health.unreachable], ["stopped", false]);
});

test("one connection ends the waits of minutes", () => {
  const feed = connected();
  refuse(feed, 11);
  mock.timers.tick(left(feed));
  newest().open();
  assert.deepEqual([feed.health.unopened, feed.health.unreachable], [0, false]);
  newest().end(1006);
  assert.equal(left(feed), 15_000);
  mock.timers.tick(left(feed));
  assert.deepEqual(refuse(feed, 1), [15_000]);
  assert.equal(feed.health.unreachable, false);
});

test("attempts without an answer or a URL count as refused", async () => {
  for (const target of [URL_OF_SERVER, () => Promise.reject(new Error("HTTP 503"))]) {
    const feed = connected({}, target);
    for (let attempt = 0; attempt < 5; attempt += 1) {
      await settled();
      if (feed.health.phase === "connecting") mock.timers.tick(10_000);
      if (attempt < 4) mock.timers.tick(left(feed));
    }
    assert.deepEqual([feed.health.phase, feed.health.unreachable], ["waiting", true]);
    feed.stop();
  }
});

test("a wait of minutes ends soon when the network or the page is available again", () => {
  for (const [target, type] of [[window, "online"], [document, "visibilitychange"]]) {
    const feed = connected();
    refuse(feed, 9);
    assert.equal(left(feed), 150_000);
    document.visibilityState = "hidden";
    document.dispatchEvent(new Event("visibilitychange"));
    assert.equal(left(feed), 150_000);
    document.visibilityState = "visible";
    target.dispatchEvent(new Event(type));
    assert.equal(left(feed), 500);
    assert.deepEqual([feed.health.failures, feed.health.unreachable], [9, true]);
    feed.stop();
  }
});

test("a wait is shortened once, so events in a burst bring no attempt forward", () => {
  const feed = connected();
  refuse(feed, 9);
  for (const value of [0.75, 0.01, 0.99]) {
    chance.value = value;
    window.dispatchEvent(new Event("online"));
    document.dispatchEvent(new Event("visibilitychange"));
    assert.equal(left(feed), 750);
  }
});

test("a page that is shown a hundred times a second tries twice a second on average", () => {
  const feed = connected();
  for (let time = 0; time < 60_000; time += 10) {
    // Even random numbers, by a linear congruential generator.
    chance.value = (chance.value * 16_807 + 0.123) % 1;
    if (feed.health.phase === "connecting") newest().end(1006);
    document.dispatchEvent(new Event("visibilitychange"));
    mock.timers.tick(10);
  }
  assert.ok(100 < feed.health.attempts && feed.health.attempts < 140, `${feed.health.attempts}`);
});
