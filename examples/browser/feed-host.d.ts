/**
 * The host of a connection that the tabs of an origin share. It tells them over a BroadcastChannel what it
 * receives. It is in a SharedWorker, or in the tab that has a lock, which another tab gets when it goes.
 */
export type Health = import("./status-feed.js").Health;
export type Known = import("./options.js").Known;
export type Options = import("./options.js").Options;
export type StatusFeed = import("./status-feed.js").StatusFeed;
export type Target = import("./options.js").Target;
export type Connect = (target: Target, options: Partial<Options>) => StatusFeed;
export type Place = [number, number];
export type Received = {
    place: Place;
    data: any;
    tag?: string;
    /**
     * the URL to which the tag belongs
     */
    url?: string;
    at?: number;
};
export type Past = {
    term: number;
    received: Received;
};
export type FromTab = {
    type: "ask" | "join" | "start" | "leave";
    place: Place;
};
export type FromHost = {
    type: "snapshot";
    order: Place;
    health: Health;
    received?: Received;
} | {
    type: "roll";
};
/** @typedef {import("./status-feed.js").Health} Health */
/** @typedef {import("./options.js").Known} Known */
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
 * @property {string} [url] the URL to which the tag belongs
 * @property {number} [at]
 */
/**
 * What a host begins with: the term of the host before it, and the newest state.
 *
 * @typedef {{ term: number, received: Received }} Past
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
export declare const ANSWER_MS = 3000;
/** Holds the connection of all tabs, in a worker or in one of them. */
export declare class FeedHost {
    #private;
    /**
     * @param {string} name as `nameOf` returns it
     * @param {Connect} connect
     * @param {() => Past} past what is known when it begins
     */
    constructor(name: string, connect: Connect, past: () => Past);
    get isHolding(): boolean;
    /**
     * Holds the connection while the lock is its own, until `signal` is aborted.
     *
     * @param {AbortSignal} [signal]
     * @param {boolean} [steal] whether to take the lock from a host that is silent
     */
    hold(signal?: AbortSignal, steal?: boolean): Promise<void>;
}
/**
 * Holds the connection in a worker, and begins with what the first tab has: that tab may have had a worker
 * before, which was killed.
 *
 * @param {string} name the name of the worker, as `nameOf` returns it
 * @param {Connect} connect
 * @param {EventTarget} worker it gets an event `connect` for each tab
 */
export declare function holdInWorker(name: string, connect: Connect, worker: EventTarget): void;
/**
 * @param {Place} place
 * @param {Place} other
 */
export declare function isLater([term, number]: Place, [otherTerm, otherNumber]: Place): boolean;
