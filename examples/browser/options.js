/** What a feed can be told: its target and its options, with the defaults. */

/** @typedef {import("./protocol.js").Verdict} Verdict */

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
 * Returns the number by which states are ordered, NaN or undefined if this one has none.
 *
 * @param {any} state
 * @param {string | ((state: any) => number) | undefined} revisionOf
 * @returns {number}
 */
export function revisionIn(state, revisionOf) {
  if (typeof revisionOf === "function") return revisionOf(state);
  return revisionOf === undefined ? NaN : state?.[revisionOf];
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
