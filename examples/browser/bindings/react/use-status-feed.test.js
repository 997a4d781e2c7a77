// Tests of the hook with React. `cargo xtask client-browser-bindings` runs them.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { beforeEach, mock, test } from "node:test";
import { fileURLToPath } from "node:url";

import { StrictMode, createElement } from "react";
import { act, create } from "react-test-renderer";

import { FakeSocket, newest } from "../../tests/fakes.js";
import { useStatusFeed } from "./use-status-feed.js";

globalThis.IS_REACT_ACT_ENVIRONMENT = true;
// React reports misuse as errors. The renderer for tests says that it is deprecated.
beforeEach(() => mock.method(console, "error", (text) => assert.match(text, /is deprecated/)));

const HERE = fileURLToPath(new URL(".", import.meta.url));
const URL_ONE = "ws://one.example/ws/status";
const URL_TWO = "ws://two.example/ws/status";

let renders = 0;

function Status({ url }) {
  renders += 1;
  const { state, health } = useStatusFeed(url, { parse: (text) => text });
  return `${state ?? "none"} ${health?.phase ?? "none"}`;
}

/** Renders a component, runs a test with it, and unmounts it. */
function mounted(element, check) {
  let root;
  act(() => (root = create(element)));
  check({
    shown: () => root.toJSON(),
    rerender: (next) => act(() => root.update(next)),
    unmount: () => act(() => root.unmount()),
  });
  act(() => root.unmount());
}

test("a component shows the newest state and the health, and is rendered for each change only", () => {
  mounted(createElement(Status, { url: URL_ONE }), ({ shown, rerender }) => {
    assert.equal(shown(), "none connecting");
    act(() => newest().open());
    assert.equal(shown(), "none open");
    const before = renders;
    act(() => newest().say("well"));
    assert.equal(shown(), "well open");
    assert.equal(renders, before + 1);
    rerender(createElement(Status, { url: URL_ONE }));
    assert.equal(FakeSocket.all.length, 1, "new options of the same URL open nothing");
    act(() => newest().end(1001));
    assert.equal(shown(), "well waiting");
  });
});

test("another URL is another feed, and the one before is closed", () => {
  mounted(createElement(Status, { url: URL_ONE }), ({ shown, rerender }) => {
    act(() => newest().open());
    act(() => newest().say("one"));
    const [first] = FakeSocket.all;
    rerender(createElement(Status, { url: URL_TWO }));
    assert.deepEqual([first.closedWith, newest().target], [[1000, "stopped"], URL_TWO]);
    assert.equal(shown(), "none connecting");
  });
});

test("a target whose object is new in each rendering is the same feed, and other subprotocols are not", () => {
  const make = (protocols) => createElement(Status, { url: { url: new URL(URL_ONE), protocols } });
  const targets = [() => make(["a"]), () => createElement(Status, { url: new URL(URL_ONE) })];
  targets.push(() => createElement(Status, { url: () => URL_ONE }));
  for (const target of targets) {
    FakeSocket.all = [];
    renders = 0;
    mounted(target(), ({ rerender }) => {
      for (let rendering = 0; rendering < 5; rendering += 1) rerender(target());
      assert.ok(FakeSocket.all.length < 2);
      assert.ok(renders < 10, `${renders}`);
    });
  }
  FakeSocket.all = [];
  mounted(make(["a"]), ({ rerender }) => {
    rerender(make(["b"]));
    assert.deepEqual(FakeSocket.all.map(({ protocols }) => protocols), [["a"], ["b"]]);
  });
});

test("a component can start and stop its feed, and be given a new URL for each attempt", async () => {
  let attempts = 0;
  let current;
  function Controlled() {
    current = useStatusFeed(() => `${URL_ONE}?ticket=${(attempts += 1)}`).feed;
    return null;
  }
  let root;
  await act(async () => (root = create(createElement(Controlled))));
  assert.equal(newest().target, `${URL_ONE}?ticket=1`);
  act(() => current.stop());
  await act(async () => current.start());
  assert.equal(newest().target, `${URL_ONE}?ticket=2`);
  act(() => root.unmount());
});

test("an unmounted component has no connection, in strict mode as well", () => {
  for (const wrap of [(it) => it, (it) => createElement(StrictMode, null, it)]) {
    FakeSocket.all = [];
    mounted(wrap(createElement(Status, { url: URL_ONE })), ({ unmount }) => {
      const open = () => FakeSocket.all.filter((socket) => socket.closedWith === undefined).length;
      assert.equal(open(), 1);
      unmount();
      assert.equal(open(), 0);
    });
  }
});

test("the README's example of React works", async () => {
  const require = createRequire(import.meta.url);
  const [, code] = /```jsx\n(.*?)```/s.exec(readFileSync(join(HERE, "../../README.md"), "utf8"));
  writeFileSync(join(HERE, "readme.jsx"), code);
  const tsc = join(dirname(require.resolve("typescript/package.json")), "bin/tsc");
  const how = ["--ignoreConfig", "--allowJs", "--noCheck", "--noResolve", "--jsx", "react-jsx", "--module", "esnext"];
  const where = ["--rootDir", ".", "--outDir", ".", "readme.jsx"];
  execFileSync(process.execPath, [tsc, ...how, ...where], { cwd: HERE, stdio: "pipe" });
  const { Status: Example } = await import("./readme.js");
  mounted(createElement(Example, { url: URL_ONE }), ({ shown }) => {
    assert.deepEqual([shown().children, shown().props.className], [["unknown"], "old"]);
    // The fake clock begins at 0, which no real time is.
    mock.timers.tick(1);
    act(() => newest().open());
    act(() => newest().say('{"status":"well"}'));
    assert.deepEqual([shown().children, shown().props.className], [["well"], ""]);
  });
});
