/**
 * A tab that shares one connection with the other tabs of its origin. A host holds the connection: a
 * SharedWorker, or else one of the tabs.
 */

import { ANSWER_MS, FeedHost, isLater } from "./feed-host.js";
import { NO_HEALTH, resolve, revisionIn } from "./options.js";

/** @typedef {import("./feed-host.js").Connect} Connect */
/** @typedef {import("./feed-host.js").FromHost} FromHost */
/** @typedef {import("./feed-host.js").FromTab} FromTab */
/** @typedef {import("./feed-host.js").Past} Past */
/** @typedef {import("./feed-host.js").Place} Place */
/** @typedef {import("./feed-host.js").Received} Received */
/** @typedef {import("./status-feed.js").Health} Health */
/** @typedef {import("./options.js").Options} Options */
/** @typedef {import("./options.js").Target} Target */

/** What a worker can take. @typedef {{ revisionOf: string | undefined, known: undefined }} Shareable */

/** Tabs of two versions of this module may be open. Those with other messages must not hear each other. */
const VERSION = 1;

/** How often a visible tab asks whether the host is alive. */
const ASK_MS = 10_000;

/** A feed like `StatusFeed`, whose connection all tabs with the same URL and options share. */
export class SharedFeed extends EventTarget {
  /** The name of the worker, the channel and the lock. @type {string} */ #name;
  /** @type {Options["parse"]} */ #parse;
  /** @type {string | undefined} */ #revisionOf;
  /** @type {Connect} */ #connect;
  /** The host that holds the connection in this tab, or waits for the lock. @type {FeedHost | undefined} */ #host;
  /** @type {Health} */ #health = NO_HEALTH;
  /** The place of the newest health. @type {Place} */ #order = [0, 0];
  /** @type {Received} */ #received = { place: [0, 0], data: undefined };
  /** @type {any} */ #state;
  #newest = -Infinity;
  /** @type {BroadcastChannel | undefined} */ #channel;
  /** @type {SharedWorker | undefined} */ #worker;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #answerTimer;
  #silences = 0;
  /** Aborted when this tab goes. */
  #joined = new AbortController();
  /** Aborted when this tab does not wait for the lock any more, or holds it. */
  #contention = new AbortController();
  #isStarted = false;

  /** Whether this browser can share a connection. */
  static get isPossible() {
    const { document, BroadcastChannel, SharedWorker, navigator } = globalThis;
    return Boolean(document && BroadcastChannel && (SharedWorker || navigator?.locks));
  }

  /**
   * @param {Target} target
   * @param {Options & Shareable} options
   * @param {Connect} connect creates the feed of a host
   */
  constructor(target, options, connect) {
    super();
    const { parse, revisionOf, ...others } = options;
    this.#parse = parse;
    this.#revisionOf = revisionOf;
    this.#name = nameOf(target, { ...others, revisionOf });
    this.#connect = connect;
    this.start();
  }

  /** The newest state, undefined before the first. */
  get state() {
    return this.#state;
  }

  get health() {
    return this.#health;
  }

  /** Whether this tab holds the connection. If a worker holds it, no tab does. */
  get holdsConnection() {
    return this.#host?.isHolding ?? false;
  }

  /** Takes part, or connects at once if the connection waits or has stopped. */
  start() {
    const { phase } = this.#health;
    this.#isStarted = true;
    if (!this.#channel) this.#join();
    else if (phase === "waiting" || phase === "stopped") this.#ask("start");
  }

  /** Takes no part any more. The connection ends with the last tab. */
  stop() {
    if (!this.#isStarted) return;
    this.#isStarted = false;
    this.#leave();
    this.#report({ phase: "stopped", why: "the page called stop()", unreachable: false });
  }

  #join() {
    if (!this.#isStarted || this.#channel) return;
    this.#joined = new AbortController();
    const { signal } = this.#joined;
    this.#listen();
    window.addEventListener("pagehide", () => this.#suspend("the page was left"), { signal });
    document.addEventListener("freeze", () => this.#suspend("the page was frozen"), { signal });
    document.addEventListener("visibilitychange", () => this.#askIfVisible(), { signal });
    const interval = setInterval(() => this.#askIfVisible(), ASK_MS);
    signal.addEventListener("abort", () => clearInterval(interval));
    this.#report({ phase: "connecting" });
    if (signal.aborted) return; // A listener of `health` has stopped it.
    this.#startHost();
    this.#ask("join");
  }

  #listen() {
    this.#channel?.close();
    this.#channel = new BroadcastChannel(this.#name);
    const { signal } = this.#joined;
    this.#channel.addEventListener("message", ({ data }) => this.#onMessage(data), { signal });
  }

  #leave() {
    this.#tell("leave");
    this.#joined.abort();
    this.#contention.abort();
    this.#worker = undefined;
    this.#channel?.close();
    this.#channel = undefined;
    clearTimeout(this.#answerTimer);
    this.#answerTimer = undefined;
  }

  /**
   * The page is left or frozen, and may return. Meanwhile another tab holds the connection.
   *
   * @param {string} why
   */
  #suspend(why) {
    this.#leave();
    this.#report({ phase: "waiting", until: Date.now(), why });
    const returned = new AbortController();
    const join = () => {
      returned.abort();
      this.#join();
    };
    window.addEventListener("pageshow", join, { signal: returned.signal });
    document.addEventListener("resume", join, { signal: returned.signal });
  }

  #startHost() {
    try {
      // Bundlers find the script by these words.
      this.#worker = new SharedWorker(new URL("./shared-feed-worker.js", import.meta.url), {
        type: "module",
        name: this.#name,
      });
      this.#worker.port.postMessage(this.#past);
      // The script could not be loaded, or a policy forbids it.
      this.#worker.addEventListener("error", () => this.#contend(), { signal: this.#joined.signal });
    } catch {
      this.#contend();
    }
  }

  /** Becomes the host when the lock is free, or at once by stealing it. */
  #contend(steal = false) {
    this.#worker = undefined;
    this.#contention.abort();
    this.#contention = new AbortController();
    if (!navigator.locks) this.#separate();
    this.#host = new FeedHost(this.#name, this.#connect, () => this.#past);
    this.#host.hold(this.#contention.signal, steal);
  }

  /** Without a worker and locks, nothing decides which tab is the host. So each is one, for itself. */
  #separate() {
    const own = crypto.getRandomValues(new Uint32Array(4)).join("-");
    this.#name = JSON.stringify([...JSON.parse(this.#name), own]);
    this.#listen();
  }

  /** @type {Past} */
  get #past() {
    return { term: this.#order[0], received: this.#received };
  }

  /** The timers of a hidden tab are late, so only a visible one notices that the host is silent. */
  #askIfVisible() {
    if (document.visibilityState === "visible") this.#ask("ask");
  }

  /** @param {FromTab["type"]} type */
  #ask(type) {
    this.#tell(type);
    this.#answerTimer ??= setTimeout(() => this.#onSilence(), ANSWER_MS);
  }

  /** The host was killed, or is frozen and keeps its lock. */
  #onSilence() {
    this.#answerTimer = undefined;
    if (document.visibilityState !== "visible") return;
    this.#silences += 1;
    if (this.#worker && this.#silences === 1) this.#startHost();
    else this.#contend(true);
    this.#ask("join");
  }

  /** @param {FromTab["type"]} type */
  #tell(type) {
    /** @type {FromTab} */
    const message = { type, place: this.#received.place };
    this.#channel?.postMessage(message);
  }

  /** @param {FromTab | FromHost} message */
  #onMessage(message) {
    if (message.type === "roll") this.#ask("ask");
    if (message.type !== "snapshot") return;
    const { order, health, received } = message;
    // A host that was replaced may speak late, and its state may still be the newest. If the clock was set
    // back, a worker that a new tab has started seems to be such a host, is taken for silent, and is replaced
    // by a tab.
    const isOld = isLater(this.#order, order);
    const isNews = isLater(order, this.#order);
    if (!isOld) {
      clearTimeout(this.#answerTimer);
      this.#answerTimer = undefined;
      this.#silences = 0;
      this.#order = order;
      // A host that a new tab has started has no state yet, and this tab shows one.
      this.#health = { ...health, lastStateAt: health.lastStateAt ?? this.#received.at };
    }
    // First, because parse may throw.
    if (isNews) this.dispatchEvent(new Event("health"));
    if (received && isLater(received.place, this.#received.place)) this.#onState(received);
  }

  /** @param {Received} received */
  #onState(received) {
    const before = this.#received;
    // Also if parse throws: the host would send it again with each answer.
    this.#received = received;
    const state = this.#parse(received.data);
    const revision = revisionIn(state, this.#revisionOf);
    if (revision < this.#newest) {
      this.#received = before;
      return;
    }
    if (revision > this.#newest) this.#newest = revision;
    // A host that replaces another one may be sent the newest state once more.
    const isRepeated = before.place[0] !== received.place[0] && isSame(before.data, received.data);
    if (isRepeated) return;
    this.#state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }

  /** @param {Partial<Health> & Pick<Health, "phase">} change */
  #report(change) {
    const past = { until: undefined, why: undefined, currentSince: undefined };
    this.#health = { ...this.#health, ...past, ...change };
    this.dispatchEvent(new Event("health"));
  }
}

/**
 * Checks that what a feed is made of can be sent to a worker, but for `parse`.
 *
 * @param {unknown} target
 * @param {Options} options
 * @returns {asserts options is Options & Shareable}
 * @throws {TypeError}
 */
export function checkShareable(target, options) {
  const { revisionOf, known } = options;
  if (typeof target === "function" || typeof revisionOf === "function" || known !== undefined) {
    throw new TypeError("a shared feed takes no function but parse, and not the option known");
  }
}

/**
 * Returns the name of a feed, which is the same in all tabs that may share it.
 *
 * @param {Target} target
 * @param {Partial<Options>} options
 * @throws {DOMException | TypeError} if the target is not valid for a WebSocket
 */
function nameOf(target, options) {
  // A worker would resolve it against the address of its script.
  const resolved = resolve(target);
  // What the constructor of WebSocket refuses, which is called elsewhere and later.
  if (!/^(ws|http)s?:[^#]*$/.test(resolved.url)) {
    throw new DOMException(`${resolved.url} is not the URL of a WebSocket`, "SyntaxError");
  }
  const protocols = [resolved.protocols].flat();
  const areTokens = protocols.every((it) => /^[\w!#$%&'*+.^`|~-]+$/.test(it));
  if (!areTokens || new Set(protocols).size < protocols.length) {
    throw new DOMException(`${protocols.join(", ")}: a subprotocol is invalid or repeated`, "SyntaxError");
  }
  return JSON.stringify(["status-feed", VERSION, resolved, options]);
}

/**
 * Whether two messages have the same contents. Blobs cannot be compared at once.
 *
 * @param {unknown} one
 * @param {unknown} other
 */
function isSame(one, other) {
  if (!(one instanceof ArrayBuffer && other instanceof ArrayBuffer)) return one === other;
  const bytes = new Uint8Array(other);
  return one.byteLength === bytes.length && new Uint8Array(one).every((byte, index) => byte === bytes[index]);
}
