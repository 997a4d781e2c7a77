/**
 * The host of a connection that the tabs of an origin share. It tells them over a BroadcastChannel what it
 * receives. It is in a SharedWorker, or in the tab that has a lock, which another tab gets when it goes.
 */

import { NO_HEALTH, parseJsonOrText, revisionIn } from "./options.js";

/** @typedef {import("./status-feed.js").Health} Health */
/** @typedef {import("./options.js").Known} Known */
/** @typedef {import("./options.js").Options} Options */
/** @typedef {import("./status-feed.js").StatusFeed} StatusFeed */
/** @typedef {import("./options.js").Target} Target */
/** @typedef {(target: Target, options: Partial<Options>) => StatusFeed} Connect */

/**
 * A place in an order: the term of a host, which is greater than those of earlier hosts, and a number in it.
 *
 * @typedef {[number, number]} Place
 */

/**
 * A state as it was received, because each tab parses it, and its place in the order of all states.
 *
 * @typedef {object} Received
 * @property {Place} place
 * @property {any} data
 * @property {string} [tag]
 * @property {string} [url] the URL to which the tag belongs
 * @property {number} [at]
 */

/**
 * What a host begins with: the term of the host before it, and the newest state.
 *
 * @typedef {{ term: number, received: Received }} Past
 */

/**
 * What tabs tell the host: that they are there and what they have (`ask`), the same when they begin
 * (`join`), that the user wants a connection now (`start`), and that they go (`leave`).
 *
 * @typedef {{ type: "ask" | "join" | "start" | "leave", place: Place }} FromTab
 */

/**
 * What the host tells the tabs: its health, with the newest state where a tab may not have it, and `roll`,
 * which every tab answers.
 *
 * @typedef {{ type: "snapshot", order: Place, health: Health, received?: Received } | { type: "roll" }} FromHost
 */

/** How long the host and the tabs wait for an answer of each other. */
export const ANSWER_MS = 3_000;

/** Holds the connection of all tabs, in a worker or in one of them. */
export class FeedHost {
  /** @type {string} */ #name;
  /** @type {Connect} */ #connect;
  /** @type {() => Past} */ #past;
  /** @type {BroadcastChannel | undefined} */ #channel;
  /** @type {StatusFeed | undefined} */ #feed;
  /** @type {Place} */ #order = [0, 0];
  /** @type {Place} */ #place = [0, 0];
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #rollTimer;
  #isEmpty = false;
  /** The health if the browser refuses to connect at all. @type {Health | undefined} */ #refused;

  /**
   * @param {string} name as `nameOf` returns it
   * @param {Connect} connect
   * @param {() => Past} past what is known when it begins
   */
  constructor(name, connect, past) {
    this.#name = name;
    this.#connect = connect;
    this.#past = past;
  }

  get isHolding() {
    return this.#feed !== undefined;
  }

  /**
   * Holds the connection while the lock is its own, until `signal` is aborted.
   *
   * @param {AbortSignal} [signal]
   * @param {boolean} [steal] whether to take the lock from a host that is silent
   */
  async hold(signal = new AbortController().signal, steal = false) {
    const { locks } = navigator;
    // Outside a secure context there are no locks. Of a worker there is only one, and a tab has a name of its own.
    if (!locks) return this.#holdUntil(signal);
    while (!signal.aborted) {
      try {
        await locks.request(this.#name, steal ? { steal } : { signal }, () => this.#holdUntil(signal));
      } catch (/** @type {any} */ error) {
        // A page without access to locks, as in a sandbox, has a connection of its own.
        if (error?.name !== "AbortError") return this.#holdUntil(signal);
        // Another tab has stolen the lock, or the signal was aborted.
        this.#end();
      }
      steal = false;
    }
  }

  /**
   * @param {AbortSignal} signal
   * @returns {Promise<void>}
   */
  #holdUntil(signal) {
    if (signal.aborted) return Promise.resolve();
    this.#begin();
    return new Promise((resolve) => {
      signal.addEventListener("abort", () => {
        // At once, because a page that is left is frozen before a promise goes on.
        this.#end();
        resolve();
      });
    });
  }

  #begin() {
    const { term, received } = this.#past();
    const { place, data, tag, url, at } = received;
    this.#order = [Math.max(Date.now(), term + 1), 0];
    this.#place = place;
    this.#isEmpty = false;
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.addEventListener("message", (event) => this.#onMessage(event.data));
    try {
      this.#feed = this.#connected(data === undefined ? undefined : { state: data, tag, url, at });
    } catch (/** @type {any} */ error) {
      // Such as for ws: in a page that was loaded by https:.
      const why = `the browser refuses to connect: ${error?.message ?? error}`;
      this.#refused = { ...NO_HEALTH, why };
    }
    this.#feed?.addEventListener("state", () => this.#onState());
    this.#feed?.addEventListener("health", () => this.#onHealth());
    this.#tell(true);
  }

  /** @param {Known | undefined} known */
  #connected(known) {
    const [, , target, options] = JSON.parse(this.#name);
    return this.#connect(target, {
      ...options,
      known,
      parse: (message) => message,
      revisionOf: (message) => revisionIn(parseJsonOrText(message), options.revisionOf),
    });
  }

  #end() {
    clearTimeout(this.#rollTimer);
    this.#channel?.close();
    this.#channel = undefined;
    this.#feed?.stop();
    this.#feed = undefined;
    this.#refused = undefined;
  }

  #onState() {
    const [term] = this.#order;
    this.#place = [term, term === this.#place[0] ? this.#place[1] + 1 : 1];
    this.#tell(true);
  }

  #onHealth() {
    this.#order = [this.#order[0], this.#order[1] + 1];
    this.#tell(false);
  }

  /** @param {FromTab | FromHost} message */
  #onMessage(message) {
    if (message.type === "leave") this.#callRoll();
    if (message.type !== "ask" && message.type !== "join" && message.type !== "start") return;
    clearTimeout(this.#rollTimer);
    const { phase, until = 0 } = this.#feed?.health ?? NO_HEALTH;
    const isJoined = message.type === "join" || this.#isEmpty;
    this.#isEmpty = false;
    // The timers of a hidden tab are late.
    const isLate = phase === "waiting" && until <= Date.now();
    if (message.type === "start" || (phase === "stopped" && isJoined) || isLate) this.#feed?.start();
    this.#tell(isLater(this.#place, message.place));
  }

  /** Ends the connection if no tab answers. A tab that was killed did not say that it left. */
  #callRoll() {
    this.#post({ type: "roll" });
    clearTimeout(this.#rollTimer);
    this.#rollTimer = setTimeout(() => {
      this.#isEmpty = true;
      this.#feed?.stop();
    }, ANSWER_MS);
  }

  /** @param {boolean} isWithState */
  #tell(isWithState) {
    const { health = this.#refused, known } = this.#feed ?? {};
    if (!health) return;
    const { state: data, ...others } = known ?? {};
    const received = known && { place: this.#place, data, ...others };
    this.#post({ type: "snapshot", order: this.#order, health, received: isWithState ? received : undefined });
  }

  /** @param {FromHost} message */
  #post(message) {
    this.#channel?.postMessage(message);
  }
}

/**
 * Holds the connection in a worker, and begins with what the first tab has: that tab may have had a worker
 * before, which was killed.
 *
 * @param {string} name the name of the worker, as `nameOf` returns it
 * @param {Connect} connect
 * @param {EventTarget} worker it gets an event `connect` for each tab
 */
export function holdInWorker(name, connect, worker) {
  /** @type {Past | undefined} */ let first;
  worker.addEventListener("connect", (event) => {
    const [port] = /** @type {MessageEvent} */ (event).ports;
    port.onmessage = ({ data }) => {
      if (first) return;
      const past = (first = data);
      new FeedHost(name, connect, () => past).hold();
    };
  });
}

/**
 * @param {Place} place
 * @param {Place} other
 */
export function isLater([term, number], [otherTerm, otherNumber]) {
  return term > otherTerm || (term === otherTerm && number > otherNumber);
}
