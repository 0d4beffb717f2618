// The page of the original `realtime-events` in Chromium: it opens a socket for each channel, counts what comes, says when it is refused,
// and never breaks its own policy.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, serve, until } from "./program.mjs";

let server;
let chromium;

before(async () => {
  server = await serve("examples/realtime-events/windrow.toml", { KEY_FORMAT: "json", VALUE_FORMAT: "json" }); // first: when it fails, nothing is left running
  chromium = await browser();
}, { timeout: 120_000 });

after(async () => {
  await chromium?.stop();
  await server?.stop();
});

const pay = (organization) => fetch(`${server.inside}api/streams/payments?key=who`, {
  method: "POST",
  body: JSON.stringify({ who: { organization_id: organization } }),
});

test("its page opens a socket for each channel and counts what comes", { timeout: 120_000 }, async () => {
  const page = await chromium.page();
  await page.goto(server.url);
  const cells = () => page.locator("tbody tr").evaluateAll((rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent)));
  const open = (names) => until(async () => (await cells()).filter(([, state, , pings]) => state === "open" && pings === "1").map(([name]) => name).join() === names);
  await open("payment,guest,reservation");
  for (const organization of [1, 2, 1]) assert.equal((await pay(organization)).status, 200);
  await until(async () => (await cells())[0][2] === "2");
  assert.deepEqual((await cells()).map(([, , events]) => events), ["2", "0", "0"]);
  assert.equal(await page.locator("li").first().textContent(), 'payment {"type":"event","channel":"payment"}');
  assert.deepEqual(chromium.complaints, []);
  // What is refused is said; the browser complains by itself.
  await page.locator("[name=organization_id]").fill("one");
  await page.locator("button").click();
  await until(async () => (await cells()).every(([, state]) => state === "refused, or lost"));
  await page.context().close();
});
