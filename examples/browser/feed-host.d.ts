/**
 * The host of a connection that the tabs of an origin share. It tells them over a BroadcastChannel what it
 * receives. It is in a SharedWorker, or in the tab that has a lock, which another tab gets when it goes.
 */
export type Health = import("./status-feed.js").Health;
export type Options = import("./options.js").Options;
export type StatusFeed = import("./status-feed.js").StatusFeed;
export type Target = import("./options.js").Target;
export type Connect = (target: Target, options: Partial<Options>) => StatusFeed;
export type Place = [number, number];
export type Received = {
    place: Place;
    data: any;
    tag?: string;
    at?: number;
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
 * @property {number} [at]
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
     * @param {() => { term: number, received: Received }} [known] what is known when it begins
     */
    constructor(name: string, connect: Connect, known?: () => {
        term: number;
        received: Received;
    });
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
 * @param {Place} place
 * @param {Place} other
 */
export declare function isLater([term, number]: Place, [otherTerm, otherNumber]: Place): boolean;
