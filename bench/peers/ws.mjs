// npm's ws on Node: `node ws.mjs PORT PING_INTERVAL_SECONDS`.
// NODE_PATH says where ws is installed; `import` does not look there, `require` does.

import { createRequire } from 'node:module';

const { WebSocketServer } = createRequire(import.meta.url)('ws');

const [port, pingInterval] = process.argv.slice(2).map(Number);

// Compression is off by default, and it sets TCP_NODELAY and answers pings by itself.
const server = new WebSocketServer({
  host: '127.0.0.1',
  port,
  path: '/ws/status',
  backlog: 4096,
});

server.on('connection', (socket) => {
  socket.on('error', () => {});
  socket.on('message', () => {});
});

// One timer for all, as its documentation shows.
if (pingInterval > 0) {
  setInterval(() => {
    for (const socket of server.clients) socket.ping();
  }, pingInterval * 1000).unref();
}

process.on('SIGTERM', () => {
  // Node ends when the last connection has.
  server.close();
  for (const socket of server.clients) socket.close(1001);
  setTimeout(() => process.exit(), 5000).unref();
});
