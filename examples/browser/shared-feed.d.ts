/**
 * A tab that shares one connection with the other tabs of its origin. A host holds the connection: a
 * SharedWorker, or else one of the tabs.
 */
export type Connect = import("./feed-host.js").Connect;
export type FromHost = import("./feed-host.js").FromHost;
export type FromTab = import("./feed-host.js").FromTab;
export type Past = import("./feed-host.js").Past;
export type Place = import("./feed-host.js").Place;
export type Received = import("./feed-host.js").Received;
export type Health = import("./status-feed.js").Health;
export type Options = import("./options.js").Options;
export type Target = import("./options.js").Target;
export type Shareable = {
    revisionOf: string | undefined;
    known: undefined;
};
/** A feed like `StatusFeed`, whose connection all tabs with the same URL and options share. */
export declare class SharedFeed extends EventTarget {
    #private;
    /** Whether this browser can share a connection. */
    static get isPossible(): boolean;
    /**
     * @param {Target} target
     * @param {Options & Shareable} options
     * @param {Connect} connect creates the feed of a host
     */
    constructor(target: Target, options: Options & Shareable, connect: Connect);
    /** The newest state, undefined before the first. */
    get state(): any;
    get health(): import("./status-feed.js").Health;
    /** Whether this tab holds the connection. If a worker holds it, no tab does. */
    get holdsConnection(): boolean;
    /** Takes part, or connects at once if the connection waits or has stopped. */
    start(): void;
    /** Takes no part any more. The connection ends with the last tab. */
    stop(): void;
}
/**
 * Checks that what a feed is made of can be sent to a worker, but for `parse`.
 *
 * @param {unknown} target
 * @param {Options} options
 * @returns {asserts options is Options & Shareable}
 * @throws {TypeError}
 */
export declare function checkShareable(target: unknown, options: Options): asserts options is Options & Shareable;
