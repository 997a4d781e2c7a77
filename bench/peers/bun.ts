// Bun's own server, which is uWebSockets:
// `bun bun.ts PORT PING_INTERVAL_SECONDS [PUBLISHER [deflate]]`.

import type { ServerWebSocket } from "bun";

const [port, pingInterval, publisher] = process.argv.slice(2).map(Number);
const compresses = process.argv[5] === "deflate";
const sockets = new Set<ServerWebSocket>();

// Compression is off by default. Bun sets TCP_NODELAY and answers pings. Its listen backlog is not
// configurable.
const server = Bun.serve({
  hostname: "127.0.0.1",
  port,
  fetch(request, server) {
    const isRight = new URL(request.url).pathname === "/ws/status";
    if (isRight && server.upgrade(request)) return;
    return new Response(null, { status: isRight ? 400 : 404 });
  },
  websocket: {
    // Bun's own pings depend on this timeout and have no interval; the timer below has one.
    idleTimeout: 0,
    // `true` is one compressor for all sockets, which keeps no window.
    perMessageDeflate: compresses,
    open: (socket) => {
      sockets.add(socket);
      if (publisher) socket.subscribe("status");
    },
    message: () => {},
    close: (socket) => void sockets.delete(socket),
  },
});

if (publisher) {
  Bun.serve({
    hostname: "127.0.0.1",
    port: publisher,
    async fetch(request) {
      server.publish("status", await request.text(), compresses);
      return new Response(null, { status: 204 });
    },
  });
}

if (pingInterval > 0) {
  setInterval(() => {
    for (const socket of sockets) socket.ping();
  }, pingInterval * 1000);
}

process.on("SIGTERM", () => {
  server.stop();
  for (const socket of sockets) socket.close(1001);
  // Bun counts a socket as closed before the client has answered, so it is unknown when all have.
  setTimeout(() => process.exit(), 1000);
});
