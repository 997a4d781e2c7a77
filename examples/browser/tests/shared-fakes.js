// A fake channel, lock manager and worker, for tabs that share a connection within one process.

import { afterEach, beforeEach } from "node:test";

import { URL_OF_SERVER, newest, settled, stopLater } from "./fakes.js";
import { holdInWorker } from "../feed-host.js";
import { StatusFeed } from "../status-feed.js";

/** Delivers messages in order, in a microtask of its own, as copies. */
class FakeChannel extends EventTarget {
  static all = new Set();
  /** Whether messages are kept, to be delivered by `release`. */
  isHeld = false;
  held = [];
  /** The newest message that was posted. */
  last;

  constructor(name) {
    super();
    this.name = name;
    FakeChannel.all.add(this);
  }

  postMessage(message) {
    const data = structuredClone(message);
    this.last = data;
    if (this.isHeld) this.held.push(data);
    else this.deliver(data);
  }

  deliver(data) {
    for (const other of FakeChannel.all) {
      if (other === this || other.name !== this.name) continue;
      queueMicrotask(() => {
        if (FakeChannel.all.has(other)) other.dispatchEvent(Object.assign(new Event("message"), { data }));
      });
    }
  }

  release() {
    this.isHeld = false;
    for (const data of this.held.splice(0)) this.deliver(data);
  }

  close() {
    FakeChannel.all.delete(this);
  }
}

/** Grants locks in the order of the requests, like the browser's lock manager. */
class FakeLocks {
  queues = new Map();

  request(name, { signal, steal = false }, callback) {
    const queue = this.queues.get(name) ?? [];
    this.queues.set(name, queue);
    return new Promise((resolve, reject) => {
      const request = { callback, resolve, reject, isGranted: false };
      const abort = () => reject(new DOMException("aborted", "AbortError"));
      signal?.addEventListener("abort", () => {
        if (request.isGranted || !queue.includes(request)) return;
        queue.splice(queue.indexOf(request), 1);
        abort();
      });
      if (signal?.aborted) return abort();
      if (steal && queue[0]?.isGranted) {
        queue.shift().reject(new DOMException("stolen", "AbortError"));
      }
      if (steal) queue.unshift(request);
      else queue.push(request);
      this.grant(queue);
    });
  }

  /** Drops the requests that are not granted. */
  dropWaiting() {
    for (const queue of this.queues.values()) queue.splice(1);
  }

  grant(queue) {
    const [first] = queue;
    if (!first || first.isGranted) return;
    first.isGranted = true;
    queueMicrotask(async () => {
      const result = await first.callback();
      if (queue[0] !== first) return; // It was stolen.
      queue.shift();
      first.resolve(result);
      this.grant(queue);
    });
  }
}

/** Runs what the worker's script does, once for each name. */
class FakeWorker extends EventTarget {
  /** The workers by their name. */
  static running = new Map();
  static isForbidden = false;
  port;

  constructor(_script, { name }) {
    super();
    const there = {};
    this.port = {
      postMessage: (data) => queueMicrotask(() => there.onmessage?.({ data: structuredClone(data) })),
    };
    if (FakeWorker.isForbidden) {
      queueMicrotask(() => this.dispatchEvent(new Event("error")));
      return;
    }
    if (!FakeWorker.running.has(name)) {
      const worker = new EventTarget();
      FakeWorker.running.set(name, worker);
      holdInWorker(name, (...settings) => stopLater(new StatusFeed(...settings)), worker);
    }
    const event = Object.assign(new Event("connect"), { ports: [there] });
    FakeWorker.running.get(name).dispatchEvent(event);
  }
}

export { FakeChannel, FakeWorker };

const { navigator: realNavigator, BroadcastChannel: realChannel } = globalThis;

beforeEach(() => {
  FakeChannel.all.clear();
  FakeWorker.running.clear();
  FakeWorker.isForbidden = false;
  globalThis.BroadcastChannel = FakeChannel;
  Object.defineProperty(globalThis, "navigator", { value: { locks: new FakeLocks() }, configurable: true });
  document.baseURI = "https://app.example/page/";
});

afterEach(() => {
  globalThis.BroadcastChannel = realChannel;
  Object.defineProperty(globalThis, "navigator", { value: realNavigator, configurable: true });
  delete globalThis.SharedWorker;
});

export async function opened(options = {}, target = URL_OF_SERVER) {
  const tab = stopLater(StatusFeed.shared(target, options));
  tab.states = [];
  tab.phases = [];
  tab.addEventListener("state", (event) => tab.states.push(event.detail));
  tab.addEventListener("health", () => tab.phases.push(tab.health.phase));
  await settled();
  return tab;
}

export async function openedTabs(count, options) {
  const all = [];
  for (let number = 0; number < count; number += 1) all.push(await opened(options));
  return all;
}

export async function said(...messages) {
  for (const message of messages) newest().say(message);
  await settled();
}

export async function open() {
  newest().open();
  await settled();
}

/** Returns what listeners throw, which would end the test. */
export async function uncaught(act) {
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
export const channelOfHost = () => [...FakeChannel.all].find((channel) => channel.last?.type === "snapshot");
export const channelsOfTabs = () => [...FakeChannel.all].filter((channel) => channel.last?.type !== "snapshot");
export const holder = (all) => all.find((tab) => tab.holdsConnection);
