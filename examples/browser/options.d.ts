/** What a feed begins with: its target, its options with their defaults, and its health. */
export type Verdict = import("./protocol.js").Verdict;
export type Health = import("./status-feed.js").Health;
export type Target = string | URL | {
    url: string | URL;
    protocols?: string | string[];
};
export type TargetOf = (attempt: {
    signal: AbortSignal;
}) => Target | Promise<Target>;
export type Known = {
    /**
     * the newest state
     */
    state: any;
    /**
     * the server's name of that state
     */
    tag?: string;
    /**
     * the URL to which the tag belongs, without the parameter `have`
     */
    url?: string;
    /**
     * the time at which it was received
     */
    at?: number;
};
export type Options = {
    /**
     * the window of the shortest wait
     */
    baseMs: number;
    /**
     * the window of the longest wait
     */
    capMs: number;
    /**
     * the same while no attempt leads to a connection
     */
    unreachableCapMs: number;
    /**
     * how long a connection has to be open before earlier failures are cleared
     */
    steadyMs: number;
    /**
     * the timeout of an attempt, from asking for its target until it is open
     */
    connectTimeoutMs: number;
    /**
     * the longest time without a message before the connection is closed; 0 is no limit
     */
    quietMs: number;
    /**
     * the reactions to codes that differ from ENDINGS
     */
    verdicts: Record<number, Verdict>;
    /**
     * the longest wait for which a server can ask
     */
    maxRetryMs: number;
    /**
     * whether to tell the server which state is known, so that it is not sent again
     */
    resume: boolean;
    /**
     * the state to begin with
     */
    known: Known | undefined;
    /**
     * the type of the data of binary messages
     */
    binaryType: BinaryType;
    /**
     * converts a message to a state
     */
    parse: (data: any) => any;
    /**
     * the number by which states are ordered, if they
     * have one: the name of a property, or a function
     */
    revisionOf: string | ((state: any) => number) | undefined;
};
/** The health before there is a connection. @type {Health} */
export declare const NO_HEALTH: Health;
/**
 * Returns the options with the defaults for those that are missing or undefined.
 *
 * @param {Partial<Options>} options
 * @returns {Options}
 * @throws {RangeError} if a time is out of its range
 */
export declare function complete(options: Partial<Options>): Options;
/**
 * Returns a target with a URL that is absolute, as the page's address is now.
 *
 * @param {Target} target
 * @returns {{ url: string, protocols: string | string[] }}
 * @throws {TypeError} if it is no URL
 */
export declare function resolve(target: Target): {
    url: string;
    protocols: string | string[];
};
/**
 * Returns the number by which states are ordered, NaN if this one has none.
 *
 * @param {any} state
 * @param {string | ((state: any) => number) | undefined} revisionOf
 * @returns {number}
 */
export declare function revisionIn(state: any, revisionOf: string | ((state: any) => number) | undefined): number;
/**
 * The default of the option `parse`.
 *
 * @param {unknown} data
 */
export declare function parseJsonOrText(data: unknown): any;
