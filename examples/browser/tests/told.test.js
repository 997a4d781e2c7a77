// Tests of what a server says when it closes: when to come back, and why a page is refused.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { chance, connected, left, newest } from "./fakes.js";

/** Opens the newest socket, and closes it after `ms` with a code and a reason. */
function closed(feed, ms, code, reason) {
  if (feed.health.phase === "waiting") mock.timers.tick(left(feed));
  newest().open();
  mock.timers.tick(ms);
  newest().end(code, reason);
  return left(feed);
}

test("a server says when to come back, and the wait is that time for every code that does not stop", () => {
  const told = [
    [1001, "drained retry=4200", 4_200], [1012, "drained retry=1", 1], [1013, "connection_limit retry=90000", 90_000],
    [1011, "panicked retry=7000", 7_000], [1005, "retry=2000", 2_000], [3000, "expired retry=0", 0],
    [1001, "moved to another  place retry=20000", 20_000], [1006, "retry=007", 7],
  ];
  for (const [code, reason, ms] of told) {
    for (const random of [0, 0.5, 0.99]) {
      chance.value = random;
      for (const age of [60_000, 100]) {
        const feed = connected();
        assert.equal(closed(feed, age, code, reason), ms, reason);
        assert.equal(feed.health.until, Date.now() + ms);
        assert.equal(feed.health.lastEnding.retryMs, ms);
        mock.timers.tick(Math.max(0, ms - 1));
        if (ms > 0) assert.equal(feed.health.phase, "waiting");
        mock.timers.tick(1);
        assert.equal(feed.health.phase, "connecting");
        feed.stop();
      }
    }
  }
});

test("the reason of an ending is without the time", () => {
  const reasons = {
    "drained retry=4200": ["drained", 4_200],
    "retry=5": ["", 5],
    "a b retry=5": ["a b", 5],
    "retry=5 retry=6": ["retry=5", 6],
  };
  for (const [text, expected] of Object.entries(reasons)) {
    const feed = connected();
    closed(feed, 60_000, 1001, text);
    const { reason, retryMs } = feed.health.lastEnding;
    assert.deepEqual([reason, retryMs], expected);
    feed.stop();
  }
});

test("a time that is malformed is part of the reason, and the wait is the usual one", () => {
  const malformed = [
    "drained retry=", "drained retry=-1", "drained retry=4.2", "drained retry=1e3", "drained retry=0x10",
    "drained retry=5s", "drained retry=5 ", "drained  retry = 5", "drained,retry=5", "drained Retry=5",
    "retry=5 drained", "drained retry=٥", "drained retry=5\n",
  ];
  for (const reason of malformed) {
    const feed = connected();
    assert.equal(closed(feed, 60_000, 1001, reason), 500, reason);
    assert.deepEqual(feed.health.lastEnding.reason, reason);
    assert.equal(feed.health.lastEnding.retryMs, undefined);
    feed.stop();
  }
});

test("a time is cut to maxRetryMs", () => {
  for (const digits of ["600001", "4294967296", "9".repeat(110)]) {
    const feed = connected();
    assert.equal(closed(feed, 60_000, 1001, `retry=${digits}`), 600_000);
    assert.equal(feed.health.lastEnding.retryMs, 600_000);
    feed.stop();
  }
  const feed = connected({ maxRetryMs: 5_000 });
  assert.equal(closed(feed, 60_000, 1001, "retry=4999"), 4_999);
  assert.equal(closed(feed, 60_000, 1001, "retry=5001"), 5_000);
});

test("a verdict to stop is not changed by a time", () => {
  const feed = connected({ verdicts: { 1013: "stop" } });
  closed(feed, 60_000, 1013, "connection_limit retry=100");
  assert.equal(feed.health.phase, "stopped");
  const forbidden = connected();
  closed(forbidden, 60_000, 3003, "forbidden retry=100");
  assert.equal(forbidden.health.phase, "stopped");
});

test("a wait for which the server asked is not shortened by the network or the page", () => {
  const feed = connected();
  closed(feed, 60_000, 1001, "drained retry=20000");
  mock.timers.tick(1_000);
  window.dispatchEvent(new Event("online"));
  document.dispatchEvent(new Event("visibilitychange"));
  window.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
  assert.equal(left(feed), 19_000);
  mock.timers.tick(19_000);
  assert.equal(feed.health.phase, "connecting");
  // The next wait has no such time, and is shortened.
  for (let attempt = 0; attempt < 5; attempt += 1) {
    newest().end(1006);
    if (attempt < 4) mock.timers.tick(left(feed));
  }
  window.dispatchEvent(new Event("online"));
  assert.equal(left(feed), 500);
});

test("a time that is not followed does not keep the wait from becoming shorter", () => {
  const feed = connected();
  closed(feed, 100, 1001, "max_age retry=0");
  assert.equal(closed(feed, 100, 1001, "max_age retry=0"), 2_000);
  window.dispatchEvent(new Event("online"));
  assert.equal(left(feed), 500);
});

test("a clock that is set back does not lengthen a wait", () => {
  mock.timers.setTime(5_000_000);
  const feed = connected();
  closed(feed, 60_000, 1001, "drained retry=20000");
  mock.timers.tick(5_000);
  mock.timers.setTime(1_000_000);
  for (let event = 0; event < 2; event += 1) {
    window.dispatchEvent(new Event("online"));
    assert.equal(left(feed), 20_000);
  }
  mock.timers.tick(20_000);
  assert.equal(feed.health.phase, "connecting");
});

test("the page can still connect at once", () => {
  const feed = connected();
  closed(feed, 60_000, 1001, "drained retry=20000");
  feed.start();
  assert.equal(feed.health.phase, "connecting");
});

test("an attempt that fails after such a wait backs off, and the failures are those of the verdict", () => {
  const feed = connected();
  closed(feed, 60_000, 1001, "drained retry=4200");
  assert.equal(feed.health.failures, 0);
  mock.timers.tick(4_200);
  const waits = [];
  for (let attempt = 0; attempt < 3; attempt += 1) {
    newest().end(1006);
    waits.push(left(feed));
    mock.timers.tick(left(feed));
  }
  assert.deepEqual(waits, [1_000, 2_000, 4_000]);
  const later = connected();
  closed(later, 60_000, 1013, "retry=4200");
  assert.equal(later.health.failures, 1);
  const young = connected();
  closed(young, 100, 1001, "retry=4200");
  assert.equal(young.health.failures, 1);
});

test("a server that accepts and closes at once is contacted ever more rarely, also if it says at once", () => {
  const feed = connected();
  const waits = [];
  for (let attempt = 0; attempt < 6; attempt += 1) waits.push(closed(feed, 100, 1001, "max_age retry=0"));
  assert.deepEqual(waits, [0, 2_000, 4_000, 8_000, 15_000, 15_000]);
  // A server may ask for a longer time each time.
  const full = connected();
  for (let attempt = 0; attempt < 6; attempt += 1) {
    assert.equal(closed(full, 100, 1013, "connection_limit retry=1000"), 1_000);
  }
});

test("a page that is refused visibly learns why, and is not unreachable", () => {
  for (const reason of ["connection_limit", "address_limit", "draining"]) {
    const feed = connected();
    for (let attempt = 1; attempt < 8; attempt += 1) {
      assert.equal(closed(feed, 5, 1013, reason), 15_000);
      const { phase, failures, unopened, unreachable, lastEnding, why } = feed.health;
      assert.deepEqual([phase, failures, unopened, unreachable], ["waiting", attempt, 0, false]);
      assert.deepEqual(
        [lastEnding.code, lastEnding.reason, lastEnding.opened, lastEnding.verdict],
        [1013, reason, true, "later"],
      );
      assert.equal(why, "the server is overloaded and asks to try again later");
      window.dispatchEvent(new Event("online"));
      assert.equal(left(feed), 15_000);
    }
    feed.stop();
  }
});

test("a page that has to log in again backs off, and one that is forbidden stops", () => {
  const feed = connected();
  const waits = [];
  for (let attempt = 0; attempt < 7; attempt += 1) waits.push(closed(feed, 5, 3000, "unauthorized"));
  assert.deepEqual(waits, [1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
  const { unreachable, lastEnding } = feed.health;
  assert.deepEqual([unreachable, lastEnding.code, lastEnding.reason], [false, 3000, "unauthorized"]);

  const forbidden = connected();
  closed(forbidden, 5, 3003, "forbidden");
  const { phase, why, lastEnding: { code, reason } } = forbidden.health;
  assert.deepEqual([phase, code, reason], ["stopped", 3003, "forbidden"]);
  assert.equal(why, "the server forbids this connection");
});

test("visible and invisible refusals in turn count all failures, and only invisible ones as unopened", () => {
  const feed = connected();
  newest().end(1006);
  mock.timers.tick(left(feed));
  newest().end(1006);
  assert.deepEqual([feed.health.failures, feed.health.unopened], [2, 2]);
  closed(feed, 5, 1013, "draining");
  assert.deepEqual([feed.health.failures, feed.health.unopened], [3, 0]);
  mock.timers.tick(left(feed));
  newest().end(1006);
  assert.deepEqual([feed.health.failures, feed.health.unopened, left(feed)], [4, 1, 8_000]);
});
