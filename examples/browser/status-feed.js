/**
 * The newest state of a status server, over a WebSocket that reconnects automatically.
 *
 * Copy this file: it has no dependencies. README.md lists the reaction to each close code, and the reasons.
 */

/**
 * The state of a feed's connection.
 *
 * @typedef {object} Health
 * @property {"connecting" | "open" | "waiting" | "stopped"} phase
 * @property {number} [until] the end of a wait, as `Date.now()` counts
 * @property {string} [why] the reason why it waits or has stopped, in a sentence for people
 * @property {Ending} [lastEnding] how the last connection ended
 * @property {number} [lastStateAt] the time at which the newest state was received
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
 * @property {string} reason the reason of the close frame, often empty
 * @property {boolean} opened whether it was ever open
 * @property {Verdict} verdict the reaction to it
 * @property {string} words the cause in a sentence for people
 * @property {number} at the time
 */

/**
 * Where to connect, and which subprotocols to offer.
 *
 * @typedef {string | URL | { url: string | URL, protocols?: string | string[] }} Target
 */

/**
 * Returns the target of one attempt, such as a URL with a new ticket. An abandoned attempt aborts `signal`.
 *
 * @typedef {(attempt: { signal: AbortSignal }) => Target | Promise<Target>} TargetOf
 */

/**
 * The reaction to an ending: reconnect soon, after growing waits, after the longest waits, or never.
 *
 * @typedef {"soon" | "back off" | "later" | "stop"} Verdict
 */

/**
 * All are optional.
 *
 * @typedef {object} Options
 * @property {number} baseMs the window of the shortest wait
 * @property {number} capMs the window of the longest wait
 * @property {number} unreachableCapMs the same while no attempt leads to a connection
 * @property {number} steadyMs how long a connection has to be open before earlier failures are cleared
 * @property {number} connectTimeoutMs the timeout of an attempt, from asking for its target until it is open
 * @property {number} quietMs the longest time without a message before the connection is closed; 0 is no limit
 * @property {Record<number, Verdict>} verdicts the reactions to codes that differ from ENDINGS
 * @property {(data: any) => any} parse converts a message to a state
 * @property {(state: any) => number} revisionOf the number by which states are ordered, if they have one
 */

/** @type {Options} */
const DEFAULTS = {
  baseMs: 1_000,
  capMs: 30_000,
  unreachableCapMs: 300_000,
  steadyMs: 10_000,
  connectTimeoutMs: 10_000,
  quietMs: 0,
  verdicts: {},
  parse: parseJsonOrText,
  revisionOf: () => NaN,
};

/**
 * Connects at once, and again until it is stopped.
 *
 * It fires `state`, with the newest state as `event.detail`, and `health` when its health changes.
 */
export class StatusFeed extends EventTarget {
  /** @type {Target | TargetOf} */ #target;
  /** @type {Options} */ #options;
  /** @type {Health} */ #health = {
    phase: "stopped", attempts: 0, failures: 0, unopened: 0, unreachable: false, outdated: 0,
  };
  /** @type {any} */ #state;
  /** @type {WebSocket | undefined} */ #socket;
  /** @type {number | undefined} */ #openedAt;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #newest = -Infinity;
  #started = new AbortController();
  /** Aborted when an attempt, or the connection to which it led, is abandoned. */
  #attempt = new AbortController();

  /**
   * @param {Target | TargetOf} target where to connect, or a function that is called for each attempt
   * @param {Partial<Options>} [options]
   * @throws {DOMException} if a target that is not a function is not valid for a WebSocket
   * @throws {RangeError} if a wait would be zero or not finite
   */
  constructor(target, options = {}) {
    super();
    this.#target = target;
    this.#options = { ...DEFAULTS, ...options };
    const { baseMs, capMs, unreachableCapMs } = this.#options;
    // A timer takes a longer time for zero.
    if (!(0 < baseMs && baseMs <= capMs && Math.max(capMs, unreachableCapMs) < 2 ** 31)) {
      throw new RangeError("0 < baseMs <= capMs < 2 ** 31 and unreachableCapMs < 2 ** 31 must hold");
    }
    this.start();
  }

  /** The newest state, undefined before the first. */
  get state() {
    return this.#state;
  }

  get health() {
    return this.#health;
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
    window.addEventListener("online", () => this.#shortenWait(), { signal });
    // The timers of a hidden page may be late by minutes.
    document.addEventListener(
      "visibilitychange",
      () => document.visibilityState === "visible" && this.#shortenWait(),
      { signal },
    );
    // Browsers may not cache a page with an open connection for the back button.
    window.addEventListener("pagehide", () => this.#suspend(), { signal });
    window.addEventListener("pageshow", (event) => event.persisted && this.#shortenWait(), { signal });
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
    const isUrl = typeof target === "string" || target instanceof URL;
    const { url, protocols } = isUrl ? { url: target, protocols: [] } : target;
    const socket = new WebSocket(url, protocols);
    this.#socket = socket;
    socket.addEventListener("open", () => this.#onOpen(), { signal });
    socket.addEventListener("message", ({ data }) => this.#onMessage(data), { signal });
    socket.addEventListener("close", ({ code, reason }) => this.#onEnd(code, reason), { signal });
  }

  #onOpen() {
    this.#openedAt = Date.now();
    this.#expectMessage();
    this.#report({ phase: "open", unopened: 0, unreachable: false });
  }

  /** @param {unknown} data */
  #onMessage(data) {
    this.#expectMessage();
    const state = this.#options.parse(data);
    const revision = this.#options.revisionOf(state);
    if (revision < this.#newest) {
      this.#health = { ...this.#health, outdated: this.#health.outdated + 1 };
      return;
    }
    if (revision > this.#newest) this.#newest = revision;
    this.#state = state;
    this.#health = { ...this.#health, lastStateAt: Date.now() };
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
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
    const { verdicts, steadyMs, baseMs, capMs } = this.#options;
    const now = Date.now();
    const opened = this.#openedAt !== undefined;
    const wasSteady = opened && now - Number(this.#openedAt) >= steadyMs;
    const known = explain(code, opened);
    const verdict = verdicts[code] ?? known.verdict;
    const lastEnding = { code, reason, opened, verdict, words: words ?? known.words, at: now };
    this.#health = { ...this.#health, lastEnding };
    if (verdict === "stop") {
      this.#enterStopped(lastEnding.words);
      return;
    }
    const failures = failuresAfter(verdict, wasSteady, this.#health.failures);
    const unopened = opened ? 0 : this.#health.unopened + 1;
    const unreachable = baseMs * 2 ** unopened > capMs;
    this.#health = { ...this.#health, failures, unopened, unreachable };
    const ms = waitMs(verdict, { failures, unopened }, Math.random(), this.#options);
    this.#wait(now + ms, lastEnding.words);
  }

  /**
   * @param {number} until
   * @param {string | undefined} why
   */
  #wait(until, why) {
    this.#setTimer(Math.max(0, until - Date.now()), () => this.#connect());
    this.#report({ phase: "waiting", until, why });
  }

  /** Shortens a wait, because the network or the page is available again. */
  #shortenWait() {
    const { phase, until = 0, why, lastEnding } = this.#health;
    if (phase !== "waiting") return;
    const { baseMs } = this.#options;
    const now = Date.now();
    // Events come in bursts. If each of them drew a time, all clients would have an early one.
    const isShort = until - now <= baseMs;
    const isKept = isShort || lastEnding?.verdict === "later";
    this.#wait(isKept ? until : now + Math.random() * baseMs, why);
  }

  /** The page is left, and may be restored. */
  #suspend() {
    clearTimeout(this.#timer);
    if (this.#health.phase === "waiting") return; // It keeps its time.
    this.#close(1000, "page left");
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
    this.#health = { ...this.#health, until: undefined, why: undefined, ...change };
    this.dispatchEvent(new Event("health"));
  }
}

/**
 * The reactions to close codes, and their meaning.
 *
 * @type {Record<number, [Verdict, string]>}
 */
export const ENDINGS = {
  1000: ["stop", "the server has no more to say"],
  1001: ["soon", "the server shuts down, or sends its sessions elsewhere"],
  1002: ["stop", "the server found an error of the protocol"],
  1003: ["stop", "the server does not take this kind of data"],
  1005: ["back off", "the connection was closed without a reason"],
  1006: ["back off", "the connection broke: the network failed, or the server is gone"],
  1007: ["stop", "the server found a text that is not UTF-8"],
  1008: ["stop", "the server closed the connection by its policy"],
  1009: ["stop", "the server found a message too big"],
  1010: ["stop", "an extension is missing"],
  1011: ["later", "the server met an error of its own"],
  1012: ["soon", "the server restarts"],
  1013: ["later", "the server is overloaded and asks to try again later"],
  1014: ["back off", "a proxy could not reach the server"],
  1015: ["back off", "the TLS handshake failed"],
  3000: ["soon", "the authorization of this connection has expired"],
  3003: ["stop", "the server forbids this connection"],
};

/**
 * Returns the reaction to the end of a connection, without `verdicts` of the options.
 *
 * @param {number} code
 * @param {boolean} opened whether it was ever open
 * @returns {{ verdict: Verdict, words: string }}
 */
export function explain(code, opened) {
  if (code === 1006 && !opened) {
    const words = "there was no connection: the server cannot be reached, or refused this page";
    return { verdict: "back off", words };
  }
  const isForApplications = 3000 <= code && code <= 4999;
  const [verdict, words] = ENDINGS[code] ??
    (isForApplications ? ["stop", "the application closed it"] : ["back off", "it is not known why"]);
  return { verdict, words };
}

/**
 * Returns the number of failures after an ending. A server that accepts connections and closes them at
 * once counts as failing, with any code.
 *
 * @param {Verdict} verdict
 * @param {boolean} wasSteady whether the connection was open for `steadyMs`
 * @param {number} failures the number before
 */
export function failuresAfter(verdict, wasSteady, failures) {
  if (!wasSteady) return failures + 1;
  return verdict === "soon" ? 0 : 1;
}

/**
 * Returns a wait with full jitter: from nothing up to a window that doubles with each failure. The cap of
 * the window grows as well while no attempt leads to a connection.
 *
 * @param {Verdict} verdict
 * @param {Pick<Health, "failures" | "unopened">} counts
 * @param {number} random from 0 up to 1
 * @param {Pick<Options, "baseMs" | "capMs" | "unreachableCapMs">} options
 */
export function waitMs(verdict, { failures, unopened }, random, { baseMs, capMs, unreachableCapMs }) {
  const cap = Math.max(capMs, Math.min(unreachableCapMs, baseMs * 2 ** unopened));
  const window = verdict === "later" ? capMs : Math.min(cap, baseMs * 2 ** failures);
  return random * window;
}

/** @param {unknown} data */
function parseJsonOrText(data) {
  try {
    return JSON.parse(/** @type {string} */ (data));
  } catch {
    return data;
  }
}
