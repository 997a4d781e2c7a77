/**
 * What the server's close codes, reasons and tags mean, and how long to wait after a connection has ended.
 */

/**
 * The reaction to an ending: reconnect soon, after growing waits, after the longest waits, or never.
 *
 * @typedef {"soon" | "back off" | "later" | "stop"} Verdict
 */

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
 * Splits the reason of a close frame into its words and the time after which the server wants the client
 * back: `drained retry=4200` is `drained`, and 4200 ms.
 *
 * @param {string} text
 * @returns {{ reason: string, retryMs?: number }}
 */
export function readReason(text) {
  const [, reason = "", digits] = /^(?:(.*) )?retry=(\d+)$/s.exec(text) ?? [];
  return digits === undefined ? { reason: text } : { reason, retryMs: Number(digits) };
}

/**
 * Returns the URL without the parameter `have`. Other parameters stay as they are.
 *
 * @param {string} url an absolute one
 */
export function withoutTag(url) {
  const address = new URL(url);
  const parameters = address.search.slice(1).split("&");
  address.search = parameters.filter((it) => !/^have(=|$)/.test(it)).join("&");
  return address.href;
}

/**
 * Returns the URL with the parameter `have`: the tag of the state that is known, or nothing.
 *
 * @param {string} url a URL without this parameter
 * @param {string} [tag]
 */
export function withTag(url, tag = "") {
  const address = new URL(url);
  address.search += `${address.search ? "&" : "?"}have=${encodeURIComponent(tag)}`;
  return address.href;
}

/**
 * Splits a message into the tag in its first line, `have=TAG`, and the state. Without such a line all of it
 * is the state.
 *
 * @param {unknown} message
 * @returns {{ tag?: string, data: unknown }}
 */
export function readMessage(message) {
  if (typeof message !== "string" && !(message instanceof ArrayBuffer)) return { data: message };
  // The line is ASCII, with 70 characters at most.
  const begin = typeof message === "string" ? message : latin1(message.slice(0, 70));
  const line = /^have=([\w.-]{1,64})\n/.exec(begin);
  return line === null ? { data: message } : { tag: line[1], data: message.slice(line[0].length) };
}

/** @param {ArrayBuffer} bytes */
function latin1(bytes) {
  return String.fromCharCode(...new Uint8Array(bytes));
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
 * @param {{ failures: number, unopened: number }} counts
 * @param {number} random from 0 up to 1
 * @param {{ baseMs: number, capMs: number, unreachableCapMs: number }} options
 */
export function waitMs(verdict, { failures, unopened }, random, { baseMs, capMs, unreachableCapMs }) {
  const cap = Math.max(capMs, Math.min(unreachableCapMs, baseMs * 2 ** unopened));
  const window = verdict === "later" ? capMs : Math.min(cap, baseMs * 2 ** failures);
  return random * window;
}
