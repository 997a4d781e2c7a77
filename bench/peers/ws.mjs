// npm's ws on Node: `node ws.mjs PORT PING_INTERVAL_SECONDS [PUBLISHER [deflate]]`.
// NODE_PATH is the folder in which ws is installed; `require` uses it, `import` does not.

import { createServer } from 'node:http';
import { createRequire } from 'node:module';

const { WebSocket, WebSocketServer } = createRequire(import.meta.url)('ws');

const [port, pingInterval, publisher] = process.argv.slice(2).map(Number);

// The example of the library's documentation.
const perMessageDeflate = {
  zlibDeflateOptions: { chunkSize: 1024, memLevel: 7, level: 3 },
  zlibInflateOptions: { chunkSize: 10 * 1024 },
  clientNoContextTakeover: true,
  serverNoContextTakeover: true,
  serverMaxWindowBits: 10,
  concurrencyLimit: 10,
  threshold: 1024,
};

// Compression is off by default. The library sets TCP_NODELAY and answers pings.
const server = new WebSocketServer({
  host: '127.0.0.1',
  port,
  path: '/ws/status',
  backlog: 4096,
  perMessageDeflate: process.argv[5] === 'deflate' && perMessageDeflate,
});

server.on('connection', (socket) => {
  socket.on('error', () => {});
  socket.on('message', () => {});
});

// Broadcast as in the library's documentation.
if (publisher) {
  createServer((request, response) => {
    const pieces = [];
    request.on('data', (piece) => pieces.push(piece));
    request.on('end', () => {
      const state = Buffer.concat(pieces);
      for (const client of server.clients) {
        if (client.readyState === WebSocket.OPEN) client.send(state, { binary: false });
      }
      response.writeHead(204).end();
    });
  })
    .listen(publisher, '127.0.0.1')
    .unref();
}

// One timer for all connections, as in the library's documentation.
if (pingInterval > 0) {
  setInterval(() => {
    for (const socket of server.clients) socket.ping();
  }, pingInterval * 1000).unref();
}

process.on('SIGTERM', () => {
  // Node exits after the last connection has ended.
  server.close();
  for (const socket of server.clients) socket.close(1001);
  setTimeout(() => process.exit(), 5000).unref();
});
