/** A store of Svelte 3 or later. */

import { readable } from "svelte/store";

import { StatusFeed } from "../../status-feed.js";

/**
 * Returns a store of the newest state and the health of a feed, which is open while the store has subscribers.
 *
 * @param {import("../../status-feed.js").Target} url
 * @param {Partial<import("../../status-feed.js").Options>} [options]
 */
export function statusStore(url, options) {
  /** @type {import("../../status-feed.js").Known | undefined} */ let known;
  return readable(/** @type {{ state?: any, health?: import("../../status-feed.js").Health }} */ ({}), (set) => {
    const feed = new StatusFeed(url, { known, ...options });
    const update = () => set({ state: feed.state, health: feed.health });
    for (const type of ["state", "health"]) feed.addEventListener(type, update);
    update();
    return () => {
      known = feed.known;
      feed.stop();
    };
  });
}
