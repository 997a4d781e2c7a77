/**
 * Runs many feeds against a server, and prints a line of JSON each second:
 * `node feeds.mjs URL COUNT SECONDS [OPTIONS]`, with the options of StatusFeed as JSON, such as
 * `{"resume":true}`. Needs Node.js 22 or later, for its WebSocket.
 *
 * The numbers of a line are those of the second before it, except `open`, which is the number of feeds that
 * are open. `bytes` are those of the states, without frame headers and compression. A feed begins at a random
 * time within the first second.
 */

import { argv } from "node:process";
import { setInterval, setTimeout } from "node:timers";

import { StatusFeed } from "../status-feed.js";

const [url, count, seconds, options = "{}"] = argv.slice(2);
if (seconds === undefined) {
  console.error("usage: node feeds.mjs URL COUNT SECONDS [OPTIONS]");
  process.exit(2);
}

/** @type {StatusFeed[]} */
const feeds = [];
const zero = { attempts: 0, opens: 0, closes: 0, states: 0, bytes: 0 };
let counts = { ...zero };

/** @param {string} data */
function parse(data) {
  counts.bytes += Buffer.byteLength(data);
  return data;
}

function run() {
  const feed = new StatusFeed(url, { ...JSON.parse(options), binaryType: "arraybuffer", parse });
  let wasOpen = false;
  feeds.push(feed);
  counts.attempts += 1;
  feed.addEventListener("state", () => (counts.states += 1));
  feed.addEventListener("health", () => {
    const { phase, currentSince } = feed.health;
    if (phase === "connecting") counts.attempts += 1;
    // A feed that is open reports once more that its state is current.
    if (phase === "open" && currentSince === undefined) counts.opens += 1;
    if (phase !== "open" && wasOpen) counts.closes += 1;
    wasOpen = phase === "open";
  });
}

for (let number = 0; number < Number(count); number += 1) setTimeout(run, 1_000 * Math.random());

let second = 0;
const printing = setInterval(() => {
  second += 1;
  const open = feeds.filter((feed) => feed.health.phase === "open").length;
  console.log(JSON.stringify({ second, open, ...counts }));
  counts = { ...zero };
  if (second < Number(seconds)) return;
  clearInterval(printing);
  for (const feed of feeds) feed.stop();
  // A closing handshake whose server is gone would keep the process.
  setTimeout(() => process.exit(), 1_000);
}, 1_000);
