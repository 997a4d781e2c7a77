// A fake clock, a fake network and fixed random numbers for the tests of status-feed.js.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock } from "node:test";

import { StatusFeed } from "../status-feed.js";

export const URL_OF_SERVER = "ws://status.example/ws/status";

/** Replaces the browser's `WebSocket`: the test opens, sends and closes. */
export class FakeSocket extends EventTarget {
  static all = [];
  closedWith;

  constructor(url, protocols) {
    super();
    this.url = url;
    this.protocols = protocols;
    if (!/^(ws|http)s?:[^#]*$/.test(url)) throw new SyntaxError(`${url} is not the URL of a WebSocket`);
    const all = [protocols].flat();
    if (all.some((it) => !/^[\w.]+$/.test(it)) || new Set(all).size < all.length) throw new SyntaxError(`${all}`);
    FakeSocket.all.push(this);
  }

  /** The URL without the tag of the known state. */
  get target() {
    return String(this.url).replace(/[?&]have=[^&]*$/, "");
  }

  open() {
    this.dispatchEvent(new Event("open"));
  }

  say(data) {
    this.dispatchEvent(Object.assign(new Event("message"), { data }));
  }

  end(code, reason = "") {
    this.dispatchEvent(Object.assign(new Event("close"), { code, reason }));
  }

  close(code, reason) {
    this.closedWith = [code, reason];
  }
}

/** Counts its listeners, to verify that none is left. */
class Listened extends EventTarget {
  count = 0;

  addEventListener(type, listener, options) {
    this.count += 1;
    options.signal.addEventListener("abort", () => (this.count -= 1));
    super.addEventListener(type, listener, options);
  }
}

/** What `Math.random()` returns. */
export const chance = { value: 0.5 };

let feeds;

beforeEach(() => {
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
  chance.value = 0.5;
  mock.method(Math, "random", () => chance.value);
  FakeSocket.all = [];
  feeds = [];
  globalThis.WebSocket = FakeSocket;
  globalThis.window = new Listened();
  globalThis.document = new Listened();
  globalThis.addEventListener = window.addEventListener.bind(window);
  document.visibilityState = "visible";
});

afterEach(() => {
  for (const feed of feeds) feed.stop();
  assert.equal(window.count + document.count, 0, "a stopped feed has no listeners");
  mock.timers.reset();
  mock.restoreAll();
});

/** Stops this feed at the end of the test. */
export function stopLater(feed) {
  feeds.push(feed);
  return feed;
}

export function connected(options, target = URL_OF_SERVER) {
  const feed = stopLater(new StatusFeed(target, options));
  feed.states = [];
  feed.addEventListener("state", (event) => feed.states.push(event.detail));
  return feed;
}

export const newest = () => FakeSocket.all.at(-1);

/** Opens the newest socket and closes it with `code` after `ms`. */
export function session(ms, code) {
  newest().open();
  mock.timers.tick(ms);
  newest().end(code);
}

/** The rest of a wait. */
export const left = (feed) => feed.health.until - Date.now();

/** Runs what promises have to do. The fake clock stands still meanwhile. */
export const settled = () => new Promise((resolve) => setImmediate(resolve));
