// Clients with npm's ws: handover_ws.cjs URL COUNT. Prints `open`, and what they have seen when the input ends.
'use strict';

const WebSocket = require('ws');

const PING_INTERVAL_MS = 50;
// The last state may be on its way.
const LAST_MS = 500;

const [url, count] = process.argv.slice(2);
const clients = Array.from({ length: Number(count) }, open);

Promise.all(clients.map(({ opened }) => opened)).then(() => console.log('open'));
process.stdin.resume().on('end', () => {
  setTimeout(() => {
    console.log(JSON.stringify(clients.map(({ seen }) => seen)));
    process.exit();
  }, LAST_MS);
});

/** Opens a client, which pings. */
function open() {
  const seen = { states: [], closes: [], slowest: 0 };
  const socket = new WebSocket(url);
  socket.on('message', (message) => seen.states.push(Number(message)));
  socket.on('close', (code) => seen.closes.push(code));
  socket.on('pong', (payload) => {
    seen.slowest = Math.max(seen.slowest, (performance.now() - Number(payload)) / 1_000);
  });
  const opened = new Promise((resolve) => socket.on('open', resolve));
  opened.then(() => setInterval(() => socket.ping(String(performance.now())), PING_INTERVAL_MS));
  return { opened, seen };
}
