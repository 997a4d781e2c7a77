// A user of the package in strict TypeScript. The lines with an expected error show that types are checked.

import { StatusFeed, type Ending, type Health, type Options, type Verdict } from "ws-status-feed";
import { ENDINGS, explain } from "ws-status-feed/protocol";

const options: Partial<Options> = { quietMs: 5_000, resume: true, revisionOf: (state) => state?.revision };
const feed = new StatusFeed(async ({ signal }) => {
  const response = await fetch("/ticket", { signal });
  return { url: new URL(await response.text()), protocols: ["status.v1"] };
}, options);

const health: Health = feed.health;
const ending: Ending | undefined = health.lastEnding;
const verdict: Verdict = explain(ending?.code ?? 1006, true).verdict;
const until: number | undefined = health.until ?? ending?.retryMs ?? health.currentSince;
feed.addEventListener("state", () => console.log(feed.state, verdict, until, ENDINGS[1001]));

const shared = StatusFeed.shared("wss://status.example/ws/status", { revisionOf: "revision" });
shared.addEventListener("health", () => console.log(shared.health.phase === "open", shared.holdsConnection));
shared.stop();

// @ts-expect-error
new StatusFeed(5);
// @ts-expect-error
new StatusFeed("wss://status.example/", { baseMs: "1000" });
// @ts-expect-error
feed.health.phase === "closed";
// @ts-expect-error
StatusFeed.shared("wss://status.example/", { revisionOf: (state: any) => state.revision });
// @ts-expect-error
StatusFeed.shared(() => "wss://status.example/");
// @ts-expect-error
feed.connect();
