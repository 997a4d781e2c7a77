/**
 * Shows a feed and its health. `?url=…` names another server, `?quiet=5` closes a silent connection, and
 * `?shared` shares one connection between tabs.
 */

import { StatusFeed } from "./status-feed.js";

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
const query = new URLSearchParams(location.search);

// Any link to this page can set another address: the policy of index.html limits them.
const url = query.get("url") ?? "ws://127.0.0.1:8080/ws/status";
const quiet = query.get("quiet") ?? "";
// States without a revision are shown in the order of arrival.
const options = { quietMs: /^\d{1,6}$/.test(quiet) ? 1_000 * Number(quiet) : 0, revisionOf: "revision" };
const feed = query.has("shared") ? StatusFeed.shared(url, options) : new StatusFeed(url, options);

feed.addEventListener("state", showState);
feed.addEventListener("health", showHealth);
byId("start").addEventListener("click", () => feed.start());
byId("stop").addEventListener("click", () => feed.stop());
setInterval(showTimes, 500);
showHealth();

function showState() {
  const { state } = feed;
  byId("state").textContent =
    typeof state === "string" ? state : JSON.stringify(state, undefined, 2);
  showTimes();
}

function showHealth() {
  const { why, attempts, failures, lastEnding, unreachable } = feed.health;
  // Attempts of an unreachable server are no news.
  const phase = unreachable ? "unreachable" : feed.health.phase;
  // A screen reader would read out a text that is set again.
  if (byId("phase").textContent !== phase) byId("phase").textContent = phase;
  byId("phase").dataset.phase = phase;
  byId("unreachable").hidden = !unreachable;
  byId("why").textContent = why ? sentence(why) : "";
  byId("attempts").textContent = String(attempts);
  byId("failures").textContent = String(failures);
  if (lastEnding) {
    const { code, reason, at } = lastEnding;
    const words = reason ? `${code} “${reason}”` : String(code);
    byId("ending").textContent = `${words} at ${clock(at)}`;
  }
  showTimes();
}

/** The texts that change with time, and are therefore not announced. */
function showTimes() {
  const { until, lastStateAt, currentSince } = feed.health;
  const isOld = lastStateAt !== undefined && currentSince === undefined;
  byId("state").classList.toggle("old", isOld);
  const age = lastStateAt === undefined ? "" : `It was received ${seconds(Date.now() - lastStateAt)} ago`;
  byId("age").textContent = isOld ? `${age}, and there may be a newer one.` : age && `${age}.`;
  const next = until === undefined ? "–" : `in ${seconds(until - Date.now())}, at ${clock(until)}`;
  byId("next").textContent = next;
}

/** @param {number} ms */
function seconds(ms) {
  return `${Math.max(0, Math.round(ms / 1000))} s`;
}

/** @param {number} time as `Date.now()` counts */
function clock(time) {
  return new Date(time).toLocaleTimeString();
}

/** @param {string} words */
function sentence(words) {
  return `${words[0].toUpperCase()}${words.slice(1).replace(/\.?$/, ".")}`;
}
