/** The worker that holds the connection of all tabs. Its name says which, as shared-feed.js made it. */

import { holdInWorker } from "./feed-host.js";
import { StatusFeed } from "./status-feed.js";

const { name } = /** @type {{ name: string }} */ (/** @type {unknown} */ (globalThis));
holdInWorker(name, (target, options) => new StatusFeed(target, options), globalThis);
