/**
 * What the server's close codes, reasons and tags mean, and how long to wait after a connection has ended.
 */
export type Verdict = "soon" | "back off" | "later" | "stop";
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
export declare const ENDINGS: Record<number, [Verdict, string]>;
/**
 * Returns the reaction to the end of a connection, without `verdicts` of the options.
 *
 * @param {number} code
 * @param {boolean} opened whether it was ever open
 * @returns {{ verdict: Verdict, words: string }}
 */
export declare function explain(code: number, opened: boolean): {
    verdict: Verdict;
    words: string;
};
/**
 * Splits the reason of a close frame into its words and the time after which the server wants the client
 * back: `drained retry=4200` is `drained`, and 4200 ms.
 *
 * @param {string} text
 * @returns {{ reason: string, retryMs?: number }}
 */
export declare function readReason(text: string): {
    reason: string;
    retryMs?: number;
};
/**
 * Returns the URL without the parameter `have`. Other parameters stay as they are.
 *
 * @param {string} url an absolute one
 */
export declare function withoutTag(url: string): string;
/**
 * Returns the URL with the parameter `have`: the tag of the state that is known, or nothing.
 *
 * @param {string} url a URL without this parameter
 * @param {string} [tag]
 */
export declare function withTag(url: string, tag?: string): string;
/**
 * Splits a message into the tag in its first line, `have=TAG`, and the state. Without such a line all of it
 * is the state.
 *
 * @param {unknown} message
 * @returns {{ tag?: string, data: unknown }}
 */
export declare function readMessage(message: unknown): {
    tag?: string;
    data: unknown;
};
/**
 * Returns the number of failures after an ending. A server that accepts connections and closes them at
 * once counts as failing, with any code.
 *
 * @param {Verdict} verdict
 * @param {boolean} wasSteady whether the connection was open for `steadyMs`
 * @param {number} failures the number before
 */
export declare function failuresAfter(verdict: Verdict, wasSteady: boolean, failures: number): number;
/**
 * Returns a wait with full jitter: from nothing up to a window that doubles with each failure. The cap of
 * the window grows as well while no attempt leads to a connection.
 *
 * @param {Verdict} verdict
 * @param {{ failures: number, unopened: number }} counts
 * @param {number} random from 0 up to 1
 * @param {{ baseMs: number, capMs: number, unreachableCapMs: number }} options
 */
export declare function waitMs(verdict: Verdict, { failures, unopened }: {
    failures: number;
    unopened: number;
}, random: number, { baseMs, capMs, unreachableCapMs }: {
    baseMs: number;
    capMs: number;
    unreachableCapMs: number;
}): number;
