/** A hook of React 18 or later. */

import { useCallback, useEffect, useState, useSyncExternalStore } from "react";

import { StatusFeed } from "../../status-feed.js";

/**
 * Returns the newest state and the health of a feed, which is stopped when the component is unmounted. Both
 * are undefined on a server, and before the first effect. Another URL is another feed.
 *
 * @param {import("../../status-feed.js").Target} url
 * @param {Partial<import("../../status-feed.js").Options>} [options] those at the time at which the URL is new
 */
export function useStatusFeed(url, options) {
  const [feed, setFeed] = useState(/** @type {StatusFeed | undefined} */ (undefined));
  useEffect(() => {
    const opened = new StatusFeed(url, options);
    setFeed(opened);
    return () => opened.stop();
  }, [url]);

  const subscribe = useCallback((/** @type {() => void} */ onChange) => {
    const listening = new AbortController();
    for (const type of ["state", "health"]) feed?.addEventListener(type, onChange, listening);
    return () => listening.abort();
  }, [feed]);
  const state = useSyncExternalStore(subscribe, () => feed?.state, () => undefined);
  const health = useSyncExternalStore(subscribe, () => feed?.health, () => undefined);
  return { state, health };
}
