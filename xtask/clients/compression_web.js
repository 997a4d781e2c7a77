// Clients with the WebSocket of browsers, which report what they receive. The check runs this file in a page;
// as a program it has one client, for Node.js, Bun and Deno: compression_web.js URL fast|slow
'use strict';

// A slow client reads and pauses in turn. The server sends on until the buffers are full, and then skips.
const READ_MS = 200;
const PAUSE_MS = 1_500;

// Within the limits of the server, even if it reads nothing for some seconds.
const CHAT_MS = 500;
const CHAT = 'a message of the client, which the server ignores; '.repeat(50);

async function hashOf(text) {
  const hash = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Returns a function that reports texts and promises of texts, in the order of its calls. */
function inOrder(report) {
  let reported = Promise.resolve();
  return (words) => {
    reported = reported.then(async () => report(await words));
  };
}

/** Reports each state. `pause` is called from time to time, and blocks. */
function follow(url, report, pause) {
  const tell = inOrder(report);
  const socket = new WebSocket(url);
  let pauseAt = Date.now() + READ_MS;
  let chat;
  socket.onopen = () => {
    tell(`open ${socket.extensions}`);
    chat = setInterval(() => socket.send(CHAT), CHAT_MS);
  };
  socket.onmessage = ({ data }) => {
    tell(hashOf(data).then((hash) => `state ${hash}`));
    if (pause && Date.now() >= pauseAt) {
      pause();
      pauseAt = Date.now() + READ_MS;
    }
  };
  socket.onclose = ({ code, reason }) => {
    clearInterval(chat);
    tell(`closed ${code} ${reason}`);
  };
}

/** The same with pauses, for a page, which must not block. A WebSocketStream is read only on demand. */
async function followSlowly(url, report) {
  const socket = new WebSocketStream(url);
  try {
    const { readable, extensions } = await socket.opened;
    report(`open ${extensions}`);
    const reader = readable.getReader();
    let pauseAt = Date.now() + READ_MS;
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      report(`state ${await hashOf(value)}`);
      if (Date.now() >= pauseAt) {
        await new Promise((resume) => setTimeout(resume, PAUSE_MS));
        pauseAt = Date.now() + READ_MS;
      }
    }
  } catch {
    // `closed` has the reason.
  }
  const { closeCode, reason } = await socket.closed.catch((error) => error);
  report(`closed ${closeCode} ${reason}`);
}

// For a page: the reports that were not taken yet.
let reports = [];
let wake = () => {};

function reportAs(name) {
  return (words) => {
    reports.push([name, words]);
    wake();
  };
}

/** Waits a second for reports. */
async function takeReports() {
  if (reports.length === 0) {
    await new Promise((resume) => {
      wake = resume;
      setTimeout(resume, 1_000);
    });
  }
  const taken = reports;
  reports = [];
  return taken;
}

function block() {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE_MS);
}

if (typeof process !== 'undefined') {
  const [url, speed] = process.argv.slice(2);
  follow(url, console.log, speed === 'slow' ? block : undefined);
}
