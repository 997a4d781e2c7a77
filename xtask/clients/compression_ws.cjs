// A client with npm's ws, which reports what it receives: compression_ws.cjs URL fast|slow
'use strict';

const { createHash } = require('node:crypto');
const WebSocket = require('ws');

// A slow client reads and pauses in turn. The server sends on until the buffers are full, and then skips.
const READ_MS = 200;
const PAUSE_MS = 1_500;

// Within the limits of the server, even if it reads nothing for some seconds.
const CHAT_MS = 1_000;
const CHAT = 'a message of the client, which the server ignores; '.repeat(20);

const [url, speed] = process.argv.slice(2);
const client = new WebSocket(url, { perMessageDeflate: { threshold: 0 } });
let pauseAt = Date.now() + READ_MS;
let chat;

client.on('upgrade', ({ headers }) => console.log(`open ${headers['sec-websocket-extensions']}`));
client.on('open', () => {
  chat = setInterval(talk, CHAT_MS);
});
client.on('message', (message) => {
  console.log(`state ${createHash('sha256').update(message).digest('hex')}`);
  if (speed === 'slow' && Date.now() >= pauseAt) {
    pauseAt = Date.now() + PAUSE_MS + READ_MS;
    client.pause();
    setTimeout(() => client.resume(), PAUSE_MS);
  }
});
client.on('pong', () => console.log('pong'));
client.on('error', (error) => console.log(`error ${error.message}`));
client.on('close', (code, reason) => {
  clearInterval(chat);
  console.log(`closed ${code} ${reason}`);
});

/** Sends a compressed message in three fragments, with a ping between them. */
function talk() {
  client.send(CHAT, { fin: false });
  client.send(CHAT, { fin: false });
  client.ping('between');
  client.send(CHAT, { fin: true });
}
