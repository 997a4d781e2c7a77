// Tests of page.js with a document that has every element.

import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeSocket, newest } from "./fakes.js";

/** Loads the page with this query, and returns its elements by their id. */
async function loaded(query) {
  const elements = new Map();
  document.getElementById = (id) => {
    if (!elements.has(id)) {
      elements.set(id, Object.assign(new EventTarget(), { dataset: {}, classList: new Set() }));
      elements.get(id).classList.toggle = () => {};
    }
    return elements.get(id);
  };
  globalThis.location = { search: query };
  await import(`../page.js${query}`);
  return elements;
}

test("a quiet limit that is no number of seconds is none, and the page works", async () => {
  for (const quiet of ["abc", "-1", "Infinity", "", "99999999999", "1e3"]) {
    const elements = await loaded(`?quiet=${quiet}`);
    newest().open();
    assert.equal(elements.get("phase").textContent, "open", quiet);
    elements.get("stop").dispatchEvent(new Event("click"));
  }
  assert.equal(FakeSocket.all.length, 6);
});
