/** A store of Svelte 3 or later. */

import { readable } from "svelte/store";

import { StatusFeed } from "../../status-feed.js";

/** @typedef {import("../../status-feed.js").Target} Target */
/** @typedef {import("../../status-feed.js").TargetOf} TargetOf */
/** @typedef {{ state?: any, health?: import("../../status-feed.js").Health, feed?: StatusFeed }} Status */

/**
 * Returns a store of the newest state, the health and the feed itself, which is open while the store has
 * subscribers.
 *
 * @param {Target | TargetOf} target
 * @param {Partial<import("../../status-feed.js").Options>} [options]
 */
export function statusStore(target, options) {
  /** @type {import("../../status-feed.js").Known | undefined} */ let known;
  return readable(/** @type {Status} */ ({}), (set) => {
    const feed = new StatusFeed(target, { ...options, known: known ?? options?.known });
    const update = () => set({ state: feed.state, health: feed.health, feed });
    for (const type of ["state", "health"]) feed.addEventListener(type, update);
    update();
    return () => {
      known = feed.known;
      feed.stop();
    };
  });
}
