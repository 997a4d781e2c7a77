/** The worker that holds the connection of all tabs. Its name says which, as shared-feed.js made it. */

import { FeedHost } from "./feed-host.js";
import { StatusFeed } from "./status-feed.js";

const { name } = /** @type {{ name: string }} */ (/** @type {unknown} */ (globalThis));
new FeedHost(name, (target, options) => new StatusFeed(target, options)).hold();
