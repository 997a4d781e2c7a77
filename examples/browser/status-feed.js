/**
 * The newest state of a status server, over a WebSocket that reconnects automatically.
 *
 * Copy this file and those that it imports; they have no dependencies. README.md lists the reaction to each
 * close code, and the reasons.
 */

import { NO_HEALTH, complete, resolve, revisionIn } from "./options.js";
import { explain, failuresAfter, readMessage, readReason, waitMs, withTag, withoutTag } from "./protocol.js";
import { SharedFeed, checkShareable } from "./shared-feed.js";

/** @typedef {import("./options.js").Known} Known */
/** @typedef {import("./options.js").Options} Options */
/** @typedef {import("./options.js").Target} Target */
/** @typedef {import("./options.js").TargetOf} TargetOf */
/** @typedef {import("./protocol.js").Verdict} Verdict */

/**
 * The state of a feed's connection.
 *
 * @typedef {object} Health
 * @property {"connecting" | "open" | "waiting" | "stopped"} phase
 * @property {number} [until] the end of a wait, as `Date.now()` counts
 * @property {string} [why] the reason why it waits or has stopped, in a sentence for people
 * @property {Ending} [lastEnding] how the last connection ended
 * @property {number} [lastStateAt] the time at which the newest state was received
 * @property {number} [currentSince] since when the state is known to be the server's newest, if it is
 * @property {number} attempts the number of attempts to connect
 * @property {number} failures the number of latest endings that count as failures
 * @property {number} unopened the number of latest attempts in a row that led to no connection
 * @property {boolean} unreachable whether these are so many that the waits may exceed `capMs`
 * @property {number} outdated the number of states that were older than the newest, and were ignored
 */

/**
 * How a connection ended.
 *
 * @typedef {object} Ending
 * @property {number} code the close code; 1006 if there was none
 * @property {string} reason the reason of the close frame without `retry=`, often empty
 * @property {number} [retryMs] the wait for which the server asked, `maxRetryMs` at most
 * @property {boolean} opened whether it was ever open
 * @property {Verdict} verdict the reaction to it
 * @property {string} words the cause in a sentence for people
 * @property {number} at the time
 */

/** How long a server that has a newer state may take to send it after `open`, as far as pages are told. */
const CONFIRM_MS = 1_000;

/**
 * Connects at once, and again until it is stopped.
 *
 * It fires `state`, with the newest state as `event.detail`, and `health` when its connection changes. What a
 * message changes in its health (`lastStateAt`, `currentSince` and `outdated`) comes without `health`.
 */
export class StatusFeed extends EventTarget {
  /** @type {Target | TargetOf} */ #target;
  /** @type {Options} */ #options;
  /** @type {Health} */ #health = NO_HEALTH;
  /** The state and its tag, which belong together. @type {Known | undefined} */ #known;
  /** The URL of the attempt, to which the tags of its messages belong. @type {string | undefined} */ #url;
  /** @type {WebSocket | undefined} */ #socket;
  /** @type {number | undefined} */ #openedAt;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #confirmTimer;
  /** The length of the wait, whatever the clock says. */
  #waitMs = 0;
  /** Whether the server has set the wait. */
  #isTold = false;
  #newest = -Infinity;
  #started = new AbortController();
  /** Aborted when an attempt, or the connection to which it led, is abandoned. */
  #attempt = new AbortController();

  /**
   * @param {Target | TargetOf} target where to connect, or a function that is called for each attempt
   * @param {Partial<Options>} [options]
   * @throws {DOMException | TypeError} if a target that is not a function is not valid for a WebSocket
   * @throws {RangeError} if a time is out of its range, which README.md lists
   */
  constructor(target, options = {}) {
    super();
    // The address of a page may change, and the server does not.
    this.#target = typeof target === "function" ? target : resolve(target);
    this.#options = complete(options);
    const { known } = this.#options;
    if (known) this.#know(known);
    this.start();
  }

  /**
   * One connection for all tabs of this origin that have the same URL and options, with the interface of a
   * feed. A browser that cannot share it has a connection for each tab.
   *
   * @param {Target} target
   * @param {Partial<Omit<Options, "known" | "revisionOf">> & { revisionOf?: string }} [options]
   * @returns {StatusFeed | SharedFeed}
   * @throws {DOMException | TypeError} if the target is not valid for a WebSocket
   * @throws {RangeError} if a time is out of its range, which README.md lists
   * @throws {TypeError} if an option is a function, but for `parse`
   */
  static shared(target, options = {}) {
    const all = complete(options);
    checkShareable(target, all);
    if (!SharedFeed.isPossible) return new StatusFeed(target, all);
    return new SharedFeed(target, all, (url, settings) => new StatusFeed(url, settings));
  }

  /** The newest state, undefined before the first. */
  get state() {
    return this.#known?.state;
  }

  /** What it has, as the option `known` of a later feed. */
  get known() {
    return this.#known;
  }

  get health() {
    return this.#health;
  }

  /** Whether this tab has the connection, as it always has unless tabs share it. */
  get holdsConnection() {
    return this.#health.phase !== "stopped";
  }

  /** Connects at once if it waits or has stopped. This clears no failures. */
  start() {
    const { phase } = this.#health;
    if (phase === "connecting" || phase === "open") return;
    this.#connect();
    // A listener of `health` may have stopped it.
    if (phase === "waiting" || this.#health.phase === "stopped") return;
    this.#started = new AbortController();
    const { signal } = this.#started;
    // A worker has no document, and Node.js has no such events at all.
    const { addEventListener: listen = () => {}, document } = globalThis;
    listen("online", () => this.#shortenWait(), { signal });
    // The timers of a hidden page may be late by minutes.
    document?.addEventListener(
      "visibilitychange",
      () => document.visibilityState === "visible" && this.#shortenWait(),
      { signal },
    );
    // Browsers may not cache a page with an open connection for the back button.
    listen("pagehide", () => this.#suspend(), { signal });
    listen("pageshow", (event) => event.persisted && this.#shortenWait(), { signal });
  }

  /** Closes the connection, and does not reconnect. */
  stop() {
    this.#close(1000, "stopped");
    this.#enterStopped("the page called stop()");
  }

  #connect() {
    this.#socket = undefined;
    this.#openedAt = undefined;
    this.#attempt = new AbortController();
    const { signal } = this.#attempt;
    // Only the first call can throw: later ones have the same target.
    if (typeof this.#target === "function") this.#findTarget(this.#target, signal);
    else this.#openSocket(this.#target, signal);
    const { connectTimeoutMs } = this.#options;
    this.#setTimer(connectTimeoutMs, () => {
      const missing = this.#socket ? "answer" : "URL";
      this.#close(1000, "timeout");
      this.#onEnd(1006, "", `there was no ${missing} within ${connectTimeoutMs / 1000} s`);
    });
    this.#report({ phase: "connecting", attempts: this.#health.attempts + 1 });
  }

  /**
   * @param {TargetOf} targetOf
   * @param {AbortSignal} signal
   */
  async #findTarget(targetOf, signal) {
    try {
      await undefined; // The function may call stop(), which the rest of #connect would undo.
      if (signal.aborted) return;
      const target = await targetOf({ signal });
      // A function that ignores its signal may return after the attempt was abandoned.
      if (!signal.aborted) this.#openSocket(target, signal);
    } catch (/** @type {any} */ error) {
      if (!signal.aborted) this.#onEnd(1006, "", `there was no valid URL: ${error?.message ?? error}`);
    }
  }

  /**
   * @param {Target} target
   * @param {AbortSignal} signal
   */
  #openSocket(target, signal) {
    const { url, protocols } = resolve(target);
    const { resume } = this.#options;
    this.#url = withoutTag(url);
    const socket = new WebSocket(resume ? withTag(this.#url, this.#tag) : url, protocols);
    socket.binaryType = this.#options.binaryType;
    this.#socket = socket;
    socket.addEventListener("open", () => this.#onOpen(), { signal });
    socket.addEventListener("message", ({ data }) => this.#onMessage(data), { signal });
    socket.addEventListener("close", ({ code, reason }) => this.#onEnd(code, reason), { signal });
  }

  /** The tag of the newest state, if it belongs to the URL of the attempt. */
  get #tag() {
    return this.#known?.url === this.#url ? this.#known?.tag : undefined;
  }

  #onOpen() {
    const now = Date.now();
    this.#openedAt = now;
    this.#expectMessage();
    // A server that is told the tag sends nothing if it has nothing newer.
    if (this.#options.resume && this.#tag) {
      this.#confirmTimer = setTimeout(() => this.#report({ phase: "open", currentSince: now }), CONFIRM_MS);
    }
    this.#report({ phase: "open", unopened: 0, unreachable: false });
  }

  /** @param {unknown} message */
  #onMessage(message) {
    clearTimeout(this.#confirmTimer);
    this.#expectMessage();
    const { resume, parse } = this.#options;
    const { tag, data } = resume ? readMessage(message) : { tag: undefined, data: message };
    const at = Date.now();
    const url = tag === undefined ? undefined : this.#url;
    if (!this.#know({ state: parse(data), tag, url, at })) {
      this.#health = { ...this.#health, outdated: this.#health.outdated + 1 };
      return;
    }
    this.#health = { ...this.#health, currentSince: this.#health.currentSince ?? at };
    this.dispatchEvent(new CustomEvent("state", { detail: this.state }));
  }

  /**
   * Takes a state, unless it is older than the newest.
   *
   * @param {Known} known
   */
  #know(known) {
    const revision = revisionIn(known.state, this.#options.revisionOf);
    if (revision < this.#newest) return false;
    if (revision > this.#newest) this.#newest = revision;
    this.#known = known;
    this.#health = { ...this.#health, lastStateAt: known.at };
    return true;
  }

  /** The browser answers pings and does not report when they cease, so only messages count. */
  #expectMessage() {
    const { quietMs } = this.#options;
    clearTimeout(this.#timer);
    if (quietMs === 0) return;
    this.#setTimer(quietMs, () => {
      // 3008 is a timeout in the registry of close codes.
      this.#close(3008, "quiet");
      this.#onEnd(1006, "", `nothing came for ${quietMs / 1000} s`);
    });
  }

  /**
   * @param {number} code
   * @param {string} reason
   * @param {string} [words] the cause, where this side knows it better
   */
  #onEnd(code, reason, words) {
    const { verdicts, steadyMs, baseMs, capMs, maxRetryMs } = this.#options;
    const now = Date.now();
    const opened = this.#openedAt !== undefined;
    const wasSteady = opened && now - Number(this.#openedAt) >= steadyMs;
    const known = explain(code, opened);
    const verdict = verdicts[code] ?? known.verdict;
    const told = readReason(reason);
    if (told.retryMs !== undefined) told.retryMs = Math.min(told.retryMs, maxRetryMs);
    const lastEnding = { code, ...told, opened, verdict, words: words ?? known.words, at: now };
    this.#health = { ...this.#health, lastEnding };
    if (verdict === "stop") {
      this.#enterStopped(lastEnding.words);
      return;
    }
    const failures = failuresAfter(verdict, wasSteady, this.#health.failures);
    const unopened = opened ? 0 : this.#health.unopened + 1;
    const unreachable = baseMs * 2 ** unopened > capMs;
    this.#health = { ...this.#health, failures, unopened, unreachable };
    const { retryMs = 0 } = told;
    // A server that accepts, closes and asks to come back at once must not be contacted without a pause.
    this.#isTold = told.retryMs !== undefined && (retryMs >= baseMs || failures < 2);
    const ms = waitMs(verdict, { failures, unopened }, Math.random(), this.#options);
    this.#wait(now, this.#isTold ? retryMs : ms, lastEnding.words);
  }

  /**
   * @param {number} now
   * @param {number} ms
   * @param {string | undefined} why
   */
  #wait(now, ms, why) {
    this.#waitMs = ms;
    this.#setTimer(ms, () => this.#connect());
    this.#report({ phase: "waiting", until: now + ms, why });
  }

  /** Shortens a wait, because the network or the page is available again. */
  #shortenWait() {
    const { phase, until = 0, why, lastEnding } = this.#health;
    if (phase !== "waiting") return;
    const { baseMs } = this.#options;
    const now = Date.now();
    // A clock that was set back must not lengthen it.
    const rest = Math.max(0, Math.min(until - now, this.#waitMs));
    // Events come in bursts. If each of them drew a time, all clients would have an early one.
    const isShort = rest <= baseMs;
    const isServers = lastEnding?.verdict === "later" || this.#isTold;
    this.#wait(now, isShort || isServers ? rest : Math.random() * baseMs, why);
  }

  /** The page is left, and may be restored. */
  #suspend() {
    clearTimeout(this.#timer);
    if (this.#health.phase === "waiting") return; // It keeps its time.
    this.#close(1000, "page left");
    this.#waitMs = 0;
    this.#report({ phase: "waiting", until: Date.now(), why: "the page was left" });
  }

  /** @param {string} why */
  #enterStopped(why) {
    this.#started.abort();
    clearTimeout(this.#timer);
    if (this.#health.phase !== "stopped") this.#report({ phase: "stopped", why, unreachable: false });
  }

  /**
   * Closes the connection without waiting for its end.
   *
   * @param {number} code
   * @param {string} reason
   */
  #close(code, reason) {
    this.#attempt.abort();
    this.#socket?.close(code, reason);
    this.#socket = undefined;
  }

  /**
   * @param {number} ms
   * @param {() => void} then
   */
  #setTimer(ms, then) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(then, ms);
  }

  /** @param {Partial<Health> & Pick<Health, "phase">} change */
  #report(change) {
    if (change.phase !== "open") clearTimeout(this.#confirmTimer);
    const past = { until: undefined, why: undefined, currentSince: undefined };
    this.#health = { ...this.#health, ...past, ...change };
    this.dispatchEvent(new Event("health"));
  }
}
