/** What a feed begins with: its target, its options with their defaults, and its health. */

/** @typedef {import("./protocol.js").Verdict} Verdict */
/** @typedef {import("./status-feed.js").Health} Health */

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
 * What a feed has, for another feed of the same URL.
 *
 * @typedef {object} Known
 * @property {any} state the newest state
 * @property {string} [tag] the server's name of that state
 * @property {string} [url] the URL to which the tag belongs, without the parameter `have`
 * @property {number} [at] the time at which it was received
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
 * @property {number} maxRetryMs the longest wait for which a server can ask
 * @property {boolean} resume whether to tell the server which state is known, so that it is not sent again
 * @property {Known | undefined} known the state to begin with
 * @property {BinaryType} binaryType the type of the data of binary messages
 * @property {(data: any) => any} parse converts a message to a state
 * @property {string | ((state: any) => number) | undefined} revisionOf the number by which states are ordered, if they
 *   have one: the name of a property, or a function
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
  maxRetryMs: 600_000,
  resume: true,
  known: undefined,
  binaryType: "blob",
  parse: parseJsonOrText,
  revisionOf: undefined,
};

/** The health before there is a connection. @type {Health} */
export const NO_HEALTH = {
  phase: "stopped", attempts: 0, failures: 0, unopened: 0, unreachable: false, outdated: 0,
};

/**
 * Returns the options with the defaults for those that are missing or undefined.
 *
 * @param {Partial<Options>} options
 * @returns {Options}
 * @throws {RangeError} if a time is out of its range
 */
export function complete(options) {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  const all = { ...DEFAULTS, ...Object.fromEntries(given) };
  checkTimes(all);
  return all;
}

/**
 * Returns a target with a URL that is absolute, as the page's address is now.
 *
 * @param {Target} target
 * @returns {{ url: string, protocols: string | string[] }}
 * @throws {TypeError} if it is no URL
 */
export function resolve(target) {
  const { url, protocols = [] } = typeof target === "string" || target instanceof URL ? { url: target } : target;
  const { document, location } = globalThis;
  return { url: new URL(url, document?.baseURI ?? location?.href).href, protocols };
}

/** @param {Options} options */
function checkTimes(options) {
  const { baseMs, capMs, unreachableCapMs, steadyMs, connectTimeoutMs, quietMs, maxRetryMs } = options;
  const all = { baseMs, capMs, unreachableCapMs, steadyMs, connectTimeoutMs, quietMs, maxRetryMs };
  for (const [name, ms] of Object.entries(all)) {
    // A timer takes a longer time for zero.
    if (!(typeof ms === "number" && 0 <= ms && ms < 2 ** 31)) {
      throw new RangeError(`0 <= ${name} < 2 ** 31 must hold, and it is ${ms}`);
    }
  }
  if (!(0 < baseMs && baseMs <= capMs && 0 < connectTimeoutMs && 0 < maxRetryMs)) {
    throw new RangeError("0 < baseMs <= capMs, 0 < connectTimeoutMs and 0 < maxRetryMs must hold");
  }
}

/**
 * Returns the number by which states are ordered, NaN if this one has none.
 *
 * @param {any} state
 * @param {string | ((state: any) => number) | undefined} revisionOf
 * @returns {number}
 */
export function revisionIn(state, revisionOf) {
  if (revisionOf === undefined) return NaN;
  const revision = typeof revisionOf === "function" ? revisionOf(state) : state?.[revisionOf];
  // As a text, 9 is after 10.
  return typeof revision === "number" ? revision : NaN;
}

/**
 * The default of the option `parse`.
 *
 * @param {unknown} data
 */
export function parseJsonOrText(data) {
  try {
    return JSON.parse(/** @type {string} */ (data));
  } catch {
    return data;
  }
}
