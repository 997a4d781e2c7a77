/**
 * The host of a connection that the tabs of an origin share. It tells them over a BroadcastChannel what it
 * receives. It is in a SharedWorker, or in the tab that has a lock, which another tab gets when it goes.
 */

import { parseJsonOrText, revisionIn } from "./options.js";

/** @typedef {import("./status-feed.js").Health} Health */
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
 * @property {number} [at]
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
  /** @type {() => { term: number, received: Received }} */ #known;
  /** @type {BroadcastChannel | undefined} */ #channel;
  /** @type {StatusFeed | undefined} */ #feed;
  /** @type {Place} */ #order = [0, 0];
  /** @type {Place} */ #place = [0, 0];
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #rollTimer;
  #isEmpty = false;

  /**
   * @param {string} name as `nameOf` returns it
   * @param {Connect} connect
   * @param {() => { term: number, received: Received }} [known] what is known when it begins
   */
  constructor(name, connect, known = () => ({ term: 0, received: { place: [0, 0], data: undefined } })) {
    this.#name = name;
    this.#connect = connect;
    this.#known = known;
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
    // Outside a secure context there are no locks. Of a worker there is only one.
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
    const { term, received } = this.#known();
    const { place, data, tag, at } = received;
    const [, , url, options] = JSON.parse(this.#name);
    this.#order = [Math.max(Date.now(), term + 1), 0];
    this.#place = place;
    this.#isEmpty = false;
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.addEventListener("message", (event) => this.#onMessage(event.data));
    this.#feed = this.#connect(url, {
      ...options,
      known: data === undefined ? undefined : { state: data, tag, at },
      parse: (message) => message,
      revisionOf: (message) => revisionIn(parseJsonOrText(message), options.revisionOf),
    });
    this.#feed.addEventListener("state", () => this.#onState());
    this.#feed.addEventListener("health", () => this.#onHealth());
    this.#tell(true);
  }

  #end() {
    clearTimeout(this.#rollTimer);
    this.#channel?.close();
    this.#channel = undefined;
    this.#feed?.stop();
    this.#feed = undefined;
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
    const isStopped = this.#feed?.health.phase === "stopped";
    const isJoined = message.type === "join" || this.#isEmpty;
    this.#isEmpty = false;
    if (message.type === "start" || (isStopped && isJoined)) this.#feed?.start();
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
    if (!this.#feed) return;
    const { health, known } = this.#feed;
    const received = known && { place: this.#place, data: known.state, tag: known.tag, at: known.at };
    this.#post({ type: "snapshot", order: this.#order, health, received: isWithState ? received : undefined });
  }

  /** @param {FromHost} message */
  #post(message) {
    this.#channel?.postMessage(message);
  }
}

/**
 * @param {Place} place
 * @param {Place} other
 */
export function isLater([term, number], [otherTerm, otherNumber]) {
  return term > otherTerm || (term === otherTerm && number > otherNumber);
}
