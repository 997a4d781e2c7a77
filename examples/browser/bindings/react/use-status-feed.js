/** A hook of React 18 or later. */

import { useCallback, useEffect, useState, useSyncExternalStore } from "react";

import { StatusFeed } from "../../status-feed.js";

/** @typedef {import("../../status-feed.js").Target} Target */
/** @typedef {import("../../status-feed.js").TargetOf} TargetOf */

/**
 * Returns the newest state, the health and the feed itself, which is stopped when the component is unmounted.
 * All are undefined on a server, and before the first effect. Another URL, or other subprotocols, are another
 * feed.
 *
 * @param {Target | TargetOf} target a function is that of the first rendering
 * @param {Partial<import("../../status-feed.js").Options>} [options] those at the time at which the target is new
 */
export function useStatusFeed(target, options) {
  const [feed, setFeed] = useState(/** @type {StatusFeed | undefined} */ (undefined));
  useEffect(() => {
    const opened = new StatusFeed(target, options);
    setFeed(opened);
    return () => opened.stop();
  }, [keyOf(target)]);

  const subscribe = useCallback((/** @type {() => void} */ onChange) => {
    const listening = new AbortController();
    for (const type of ["state", "health"]) feed?.addEventListener(type, onChange, listening);
    return () => listening.abort();
  }, [feed]);
  const state = useSyncExternalStore(subscribe, () => feed?.state, () => undefined);
  const health = useSyncExternalStore(subscribe, () => feed?.health, () => undefined);
  return { state, health, feed };
}

/**
 * Returns what is equal in two renderings with the same target, whose object may be new in each of them.
 *
 * @param {Target | TargetOf} target
 */
function keyOf(target) {
  if (typeof target === "function") return "function";
  const { url, protocols } = typeof target === "string" || target instanceof URL ? { url: target } : target;
  return JSON.stringify([String(url), protocols]);
}
