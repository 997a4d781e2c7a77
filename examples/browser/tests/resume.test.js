// Tests of tags: what a feed tells the server that it has, and what it knows when nothing comes.

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { FakeSocket, URL_OF_SERVER, connected, left, newest, settled } from "./fakes.js";
import { StatusFeed } from "../status-feed.js";

const url = () => String(newest().url);
const reconnect = (feed, code = 1001) => {
  newest().end(code);
  mock.timers.tick(left(feed));
};

test("a feed without resume changes no URL and no message", () => {
  const feed = connected({ resume: false });
  assert.equal(newest().url, URL_OF_SERVER);
  newest().open();
  newest().say("have=1\nwell");
  assert.deepEqual(feed.states, ["have=1\nwell"]);
  assert.equal(feed.known.tag, undefined);
});

test("each attempt says which state the feed has, and the tag's line is not part of the state", () => {
  const feed = connected();
  assert.equal(url(), `${URL_OF_SERVER}?have=`);
  newest().open();
  newest().say('have=a.B-1_\n{"status":"well"}');
  assert.deepEqual(feed.states, [{ status: "well" }]);
  assert.deepEqual(feed.known, { state: { status: "well" }, tag: "a.B-1_", url: URL_OF_SERVER, at: Date.now() });
  reconnect(feed);
  assert.equal(url(), `${URL_OF_SERVER}?have=a.B-1_`);
  newest().end(1006);
  mock.timers.tick(left(feed));
  assert.equal(url(), `${URL_OF_SERVER}?have=a.B-1_`);
  newest().open();
  newest().say("have=2\nfirst line\nsecond line");
  assert.equal(feed.state, "first line\nsecond line");
  newest().say("have=3\n");
  assert.equal(feed.state, "");
  reconnect(feed);
  assert.equal(url(), `${URL_OF_SERVER}?have=3`);
});

test("a message without the line is a state, and the tag of the one before is forgotten", () => {
  const without = [
    "well", "have=1", "have=\nx", "have=a b\nx", "have=a/b\nx", `have=${"a".repeat(65)}\nx`, " have=1\nx",
    "have=1\r\nx", "Have=1\nx", "have=é\nx", "\nhave=1\nx",
  ];
  for (const message of without) {
    const feed = connected({ resume: true });
    newest().open();
    newest().say(`have=${"a".repeat(64)}\nbefore`);
    newest().say(message);
    assert.deepEqual(feed.states, ["before", message]);
    reconnect(feed);
    assert.equal(url(), `${URL_OF_SERVER}?have=`);
    feed.stop();
  }
});

test("other parameters stay as they are, and one of the same name is replaced", () => {
  const urls = {
    "?a=b%20c&flag&d=e+f": "?a=b%20c&flag&d=e+f&have=",
    "?have=old&a=%41": "?a=%41&have=",
    "?a&have&behave=1&have=2": "?a&behave=1&have=",
    "?a&&b": "?a&&b&have=",
    "?": "?have=",
  };
  for (const [query, expected] of Object.entries(urls)) {
    for (const make of [(it) => it, (it) => new URL(it), (it) => ({ url: it, protocols: ["status.v1"] })]) {
      const feed = connected({ resume: true }, make(`${URL_OF_SERVER}${query}`));
      assert.equal(url(), `${URL_OF_SERVER}${expected}`);
      feed.stop();
    }
  }
  document.baseURI = "https://app.example/page/";
  connected({ resume: true }, "../ws/status?team=red").stop();
  assert.match(url(), /^https:\/\/app\.example\/ws\/status\?team=red&have=$/);
});

test("a binary message has the same line, where its data are an ArrayBuffer", () => {
  const bytes = (text) => new TextEncoder().encode(text).buffer;
  const text = (state) => new TextDecoder().decode(state);
  const feed = connected({ resume: true, binaryType: "arraybuffer" });
  assert.equal(newest().binaryType, "arraybuffer");
  newest().open();
  newest().say(bytes("have=7\n\u0000wéll"));
  assert.equal(text(feed.state), "\u0000wéll");
  assert.equal(feed.known.tag, "7");
  const longest = "8".repeat(64);
  newest().say(bytes(`have=${longest}\n`));
  assert.equal(text(feed.state), "");
  reconnect(feed);
  assert.equal(url(), `${URL_OF_SERVER}?have=${longest}`);
  newest().open();
  newest().say(bytes("no line"));
  assert.equal(text(feed.state), "no line");
  newest().say(bytes("have=9\nwell"));
  const blob = new Blob(["have=10\nwell"]);
  newest().say(blob);
  assert.deepEqual([feed.state, feed.known.tag], [blob, undefined]);
});

test("an older state that is ignored leaves the tag of the newest", () => {
  const feed = connected({ resume: true, revisionOf: "revision" });
  newest().open();
  newest().say('have=7\n{"revision":7}');
  newest().say('have=6\n{"revision":6}');
  newest().say('{"revision":5}');
  assert.deepEqual(feed.states, [{ revision: 7 }]);
  assert.equal(feed.health.outdated, 2);
  reconnect(feed);
  assert.equal(url(), `${URL_OF_SERVER}?have=7`);
});

test("the tag of another URL is not sent, and other protocols are not another URL", async () => {
  const targets = [
    "ws://one.example/?team=red", { url: "ws://one.example/?team=red", protocols: "ticket.2" },
    "ws://one.example/?team=red&have=x", "ws://one.example/?team=blue", "ws://two.example/?team=blue",
  ];
  const feed = connected({ resume: true }, () => targets.shift());
  const seen = [];
  for (const tag of ["1", "2", "3", "4", "5"]) {
    await settled();
    seen.push(url());
    newest().open();
    newest().say(`have=${tag}\n"${tag}"`);
    mock.timers.tick(60_000);
    newest().end(1001);
    mock.timers.tick(left(feed));
  }
  assert.deepEqual(seen, [
    "ws://one.example/?team=red&have=", "ws://one.example/?team=red&have=1", "ws://one.example/?team=red&have=2",
    "ws://one.example/?team=blue&have=", "ws://two.example/?team=blue&have=",
  ]);
  assert.equal(feed.state, "5", "the state is kept without its tag");
});

test("state and tag outlive stop and start together", () => {
  const feed = connected({ resume: true });
  newest().open();
  newest().say("have=1\nwell");
  feed.stop();
  feed.start();
  assert.equal(url(), `${URL_OF_SERVER}?have=1`);
  assert.equal(feed.state, "well");
  newest().open();
  newest().say("worse");
  feed.stop();
  feed.start();
  assert.deepEqual([url(), feed.state], [`${URL_OF_SERVER}?have=`, "worse"]);
});

test("a state for which the server sends nothing newer is current after a second, as of the open", () => {
  const feed = connected({ resume: true });
  newest().open();
  assert.equal(feed.health.currentSince, undefined);
  mock.timers.tick(5_000);
  assert.equal(feed.health.currentSince, undefined, "without a state nothing is current");
  newest().say("have=1\nwell");
  const received = Date.now();
  assert.equal(feed.health.currentSince, received);
  mock.timers.tick(60_000);
  newest().say("have=2\nbetter");
  assert.deepEqual([feed.health.currentSince, feed.health.lastStateAt], [received, received + 60_000]);
  reconnect(feed);
  assert.equal(feed.health.currentSince, undefined);

  const reports = [];
  feed.addEventListener("health", () => reports.push([feed.health.phase, feed.health.currentSince]));
  newest().open();
  const opened = Date.now();
  mock.timers.tick(999);
  assert.deepEqual(reports, [["open", undefined]]);
  mock.timers.tick(1);
  assert.deepEqual(reports, [["open", undefined], ["open", opened]]);
  assert.equal(feed.health.lastStateAt, received + 60_000);
  assert.deepEqual(feed.states, ["well", "better"]);
  newest().end(1006);
  assert.equal(feed.health.currentSince, undefined);
});

test("a state is not current by time if the connection ends first, or brings another one", () => {
  const endings = {
    end: () => newest().end(1006),
    stop: (feed) => feed.stop(),
    leave: () => window.dispatchEvent(new Event("pagehide")),
    older: () => newest().say('have=0\n{"revision":0}'),
  };
  for (const [name, finish] of Object.entries(endings)) {
    const feed = connected({ resume: true, revisionOf: "revision", baseMs: 30_000 });
    newest().open();
    newest().say('have=1\n{"revision":1}');
    mock.timers.tick(60_000);
    reconnect(feed);
    newest().open();
    mock.timers.tick(500);
    finish(feed);
    mock.timers.tick(10_000);
    assert.equal(feed.health.currentSince, undefined, name);
    feed.stop();
  }
});

test("without a tag nothing is current before a state has come", () => {
  const feed = connected();
  newest().open();
  newest().say("well");
  reconnect(feed);
  newest().open();
  mock.timers.tick(60_000);
  assert.equal(feed.health.currentSince, undefined);
});

test("what a feed has is the beginning of another one, also as JSON", () => {
  const first = connected({ resume: true, revisionOf: "revision" });
  assert.equal(first.known, undefined);
  newest().open();
  newest().say('have=5\n{"revision":5}');
  const received = Date.now();
  first.stop();
  mock.timers.tick(60_000);

  const known = JSON.parse(JSON.stringify(first.known));
  const next = connected({ resume: true, revisionOf: "revision", known });
  assert.equal(url(), `${URL_OF_SERVER}?have=5`);
  assert.deepEqual([next.state, next.health.lastStateAt], [{ revision: 5 }, received]);
  newest().open();
  newest().say('have=4\n{"revision":4}');
  assert.deepEqual([next.states, next.health.outdated], [[], 1]);
});

test("the tag of what a feed begins with is sent to the URL of that state only", () => {
  const first = connected({}, `${URL_OF_SERVER}?team=red`);
  newest().open();
  newest().say("have=5\nwell");
  const { known } = first;
  for (const [target, tag] of [["?team=red", "5"], ["?team=blue", ""]]) {
    const feed = connected({ known }, `${URL_OF_SERVER}${target}`);
    assert.equal(url(), `${URL_OF_SERVER}${target}&have=${tag}`);
    newest().open();
    mock.timers.tick(1_000);
    assert.deepEqual([feed.state, feed.health.currentSince !== undefined], ["well", tag !== ""], target);
  }
  connected({ known: { state: "well", tag: "5" } });
  assert.equal(url(), `${URL_OF_SERVER}?have=`, "a tag without a URL belongs to none");
});

test("a relative URL is that of the page's address at the beginning", () => {
  for (const resume of [true, false]) {
    document.baseURI = "https://app.example/page/";
    const feed = connected({ resume }, "../ws/status");
    document.baseURI = "https://app.example/a/longer/address";
    reconnect(feed);
    assert.equal(newest().target, "https://app.example/ws/status");
  }
});

test("an invalid URL throws, with a tag as without", () => {
  for (const options of [{}, { resume: true }]) {
    assert.throws(() => new StatusFeed("mailto:x", options), SyntaxError);
  }
  assert.equal(FakeSocket.all.length, 0);
});
