// npm's ws with the server: pings in both directions, the limits for origins and sizes, and 1001 on
// SIGTERM.
'use strict';

const { spawn } = require('node:child_process');
const { once } = require('node:events');
const { createInterface } = require('node:readline');
const { isDeepStrictEqual } = require('node:util');
const WebSocket = require('ws');
const { version } = require('ws/package.json');

const ALLOWED = 'https://allowed.example';
const OTHER = 'https://other.example';
const LIMIT_MS = 30_000;

function expect(what, expected, seen) {
  if (!isDeepStrictEqual(seen, expected)) {
    throw new Error(`${what}: expected ${JSON.stringify(expected)}, saw ${JSON.stringify(seen)}`);
  }
}

const settings = ['--allowed-origins', ALLOWED, '--ping-interval-secs', '0.3'];
const server = spawn(
  process.argv[2],
  ['--listen', '127.0.0.1:0', '--log-format', 'json', ...settings],
  { env: {}, stdio: ['ignore', 'ignore', 'pipe'] },
);
const log = createInterface({ input: server.stderr })[Symbol.asyncIterator]();

/** Waits for the next line of the log with this event. */
async function logged(event) {
  let last;
  for (;;) {
    const { value, done } = await log.next();
    if (done) throw new Error(`the server's log: expected ${event}, saw its end after ${last}`);
    last = value;
    const line = value.startsWith('{') ? JSON.parse(value) : {};
    if (line.event === event) return line;
  }
}

async function checkLimits(url) {
  const allowed = new WebSocket(url, { origin: ALLOWED });
  await once(allowed, 'open');
  expect('the origin in the opened line', ALLOWED, (await logged('opened')).origin);
  allowed.close();
  await once(allowed, 'close');
  expect('the cause in the closed line', 'peer_closed', (await logged('closed')).cause);

  const [error] = await once(new WebSocket(url, { origin: OTHER }), 'error');
  expect('the answer to another origin', 'Unexpected server response: 403', error.message);
  const { refusal, origin } = await logged('refused');
  expect('the refused line', ['origin_refused', OTHER], [refusal, origin]);

  const client = new WebSocket(url);
  await once(client, 'open');
  client.send('x'.repeat(5000));
  const [code] = await once(client, 'close');
  expect('the code after a message that is too big', 1009, code);
  expect('the cause in the closed line', 'too_big', (await logged('closed')).cause);
}

async function checkSession(url) {
  const client = new WebSocket(url);
  const messages = [];
  client.on('message', (message) => messages.push(String(message)));
  await once(client, 'open');

  client.ping('a payload');
  const [payload] = await once(client, 'pong');
  expect('the payload of the pong', 'a payload', String(payload));

  client.send('a text');
  // The server sends a second ping only after the first was answered.
  await once(client, 'ping');
  await once(client, 'ping');
  expect('the answers to a text', [], messages);

  server.kill('SIGTERM');
  const [code, reason] = await once(client, 'close');
  expect('the closing on SIGTERM', [1001, 'drained'], [code, String(reason)]);
}

async function expectCleanExit() {
  const { cause, clean, code, rtt_ms: roundTrip } = await logged('closed');
  expect('the closed line', ['drained', true, 1001], [cause, clean, code]);
  expect('the type of rtt_ms in the closed line', 'number', typeof roundTrip);
  if (server.exitCode === null) await once(server, 'exit');
  expect("the server's exit code", 0, server.exitCode);
}

function fail(error) {
  console.error(`node_ws.cjs: ${error.message}`);
  process.exit(1);
}

async function main() {
  const url = `ws://${(await logged('listening')).address}/ws/status`;
  await checkLimits(url);
  await checkSession(url);
  await expectCleanExit();
  console.log(`ws ${version}: connected, its ping was answered, 1001 "drained" on SIGTERM`);
  process.exit(0);
}

// In any case kill the server with this program, and end this program.
process.on('exit', () => server.kill('SIGKILL'));
process.on('SIGTERM', () => fail(new Error('expected to reach the end, saw SIGTERM')));
process.on('uncaughtException', fail);
setTimeout(() => fail(new Error(`expected an end within ${LIMIT_MS} ms, saw none`)), LIMIT_MS);
main().catch(fail);
