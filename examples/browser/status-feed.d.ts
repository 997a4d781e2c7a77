/**
 * The newest state of a status server, over a WebSocket that reconnects automatically.
 *
 * Copy this file and those that it imports; they have no dependencies. README.md lists the reaction to each
 * close code, and the reasons.
 */
import { SharedFeed } from "./shared-feed.js";
export type Known = import("./options.js").Known;
export type Options = import("./options.js").Options;
export type Target = import("./options.js").Target;
export type TargetOf = import("./options.js").TargetOf;
export type Verdict = import("./protocol.js").Verdict;
export type Health = {
    phase: "connecting" | "open" | "waiting" | "stopped";
    /**
     * the end of a wait, as `Date.now()` counts
     */
    until?: number;
    /**
     * the reason why it waits or has stopped, in a sentence for people
     */
    why?: string;
    /**
     * how the last connection ended
     */
    lastEnding?: Ending;
    /**
     * the time at which the newest state was received
     */
    lastStateAt?: number;
    /**
     * since when the state is known to be the server's newest, if it is
     */
    currentSince?: number;
    /**
     * the number of attempts to connect
     */
    attempts: number;
    /**
     * the number of latest endings that count as failures
     */
    failures: number;
    /**
     * the number of latest attempts in a row that led to no connection
     */
    unopened: number;
    /**
     * whether these are so many that the waits may exceed `capMs`
     */
    unreachable: boolean;
    /**
     * the number of states that were older than the newest, and were ignored
     */
    outdated: number;
};
export type Ending = {
    /**
     * the close code; 1006 if there was none
     */
    code: number;
    /**
     * the reason of the close frame without `retry=`, often empty
     */
    reason: string;
    /**
     * the wait for which the server asked, `maxRetryMs` at most
     */
    retryMs?: number;
    /**
     * whether it was ever open
     */
    opened: boolean;
    /**
     * the reaction to it
     */
    verdict: Verdict;
    /**
     * the cause in a sentence for people
     */
    words: string;
    /**
     * the time
     */
    at: number;
};
/**
 * Connects at once, and again until it is stopped.
 *
 * It fires `state`, with the newest state as `event.detail`, and `health` when its connection changes. What a
 * message changes in its health (`lastStateAt`, `currentSince` and `outdated`) comes without `health`.
 */
export declare class StatusFeed extends EventTarget {
    #private;
    /**
     * @param {Target | TargetOf} target where to connect, or a function that is called for each attempt
     * @param {Partial<Options>} [options]
     * @throws {DOMException | TypeError} if a target that is not a function is not valid for a WebSocket
     * @throws {RangeError} if a time is out of its range, which README.md lists
     */
    constructor(target: Target | TargetOf, options?: Partial<Options>);
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
    static shared(target: Target, options?: Partial<Omit<Options, "known" | "revisionOf">> & {
        revisionOf?: string;
    }): StatusFeed | SharedFeed;
    /** The newest state, undefined before the first. */
    get state(): any;
    /** What it has, as the option `known` of a later feed. */
    get known(): import("./options.js").Known | undefined;
    get health(): Health;
    /** Whether this tab has the connection, as it always has unless tabs share it. */
    get holdsConnection(): boolean;
    /** Connects at once if it waits or has stopped. This clears no failures. */
    start(): void;
    /** Closes the connection, and does not reconnect. */
    stop(): void;
}
