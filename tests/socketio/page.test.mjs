// A page in Chromium: the ten lines of docs/PROTOCOL.md, as they stand there, and the clients of both generations of the protocol as
// browsers run them: real XMLHttpRequests, whose polls carry binary without base64.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { browser } from "../browser/program.mjs";
import { channels, like } from "./channels.mjs";
import { echo, stopAll, until, within } from "./server.mjs";

const PAGE = new URL("../../docs/PROTOCOL.md", import.meta.url);
const SCRIPTS = { 4: "client-4/dist/socket.io.min.js", 2: "client-2/dist/socket.io.js", 1: "client-1/dist/socket.io.min.js" };
const script = (generation) => readFile(fileURLToPath(new URL(`node_modules/${SCRIPTS[generation]}`, import.meta.url)));

let chromium;
let echoing;
let pages; // another origin, which the echo lets in

before(async () => {
  pages = createServer(async ({ url }, response) => {
    const [, generation, name] = url.split("/");
    if (name === "socket.io.js") response.setHeader("content-type", "text/javascript").end(await script(generation));
    else response.setHeader("content-type", "text/html; charset=utf-8").end('<link rel="icon" href="data:,"><script src="socket.io.js"></script>');
  });
  await new Promise((ready) => pages.listen(0, "127.0.0.1", ready));
  echoing = await echo({ origin: `http://127.0.0.1:${pages.address().port}` }); // when it fails, no browser is left running
  chromium = await browser();
}, { timeout: 120_000 });
after(async () => {
  await chromium?.stop();
  await stopAll();
  pages.closeAllConnections();
  pages.close();
});

const quick = { timeout: 30_000 };

test("the ten lines of the document show rows, and their changes", quick, async () => {
  const [, lines] = /```html\n(.*?)```/s.exec((await readFile(PAGE, "utf8")).split("## Socket.IO")[1]) ?? assert.fail("there is no page in docs/PROTOCOL.md");
  const [, program] = /<script>\n(.*?)<\/script>/s.exec(lines);
  assert.equal(program.trim().split("\n").length, 10, "ten lines");
  const live = await channels();
  await like(live, "a");
  const page = await chromium.page();
  await page.route("**/favicon.ico", (route) => route.fulfill({ status: 204 }));
  await page.route("https://cdn.socket.io/**", async (route) => route.fulfill({ contentType: "text/javascript", body: await script(4) }));
  await page.goto(`${live.url}/healthz`); // a page of the listener's own origin, to put the lines in
  await page.setContent(lines.replace("http://127.0.0.1:8080", live.url));
  const shows = (wanted) => until(async () => (await page.textContent("body")).includes(wanted), `the page does not show ${wanted}`);
  await shows('"count":1');
  await like(live, "a");
  await shows('"count":2');
  await page.close();
});

for (const generation of [4, 2, 1]) {
  for (const transports of [["polling"], ["websocket"], ["polling", "websocket"]]) {
    test(`socket.io-client ${generation} in Chromium by ${transports.join(" and ")}, from another origin: events, acks, binary both ways`, quick, async () => {
      const page = await chromium.page();
      await page.goto(`http://127.0.0.1:${pages.address().port}/${generation}/`);
      const [transport, back, ack] = await within(page.evaluate(talk, [echoing.url, transports]), "the page does not come to an end");
      assert.equal(transport, transports.at(-1));
      assert.deepEqual(back, ["text", [0, 1, 2, 128, 254, 255]]);
      assert.deepEqual(ack, [[0, 1, 2, 128, 254, 255], "thanks"]);
      await page.close();
    });
  }
}

/** Runs in the page. */
async function talk([url, transports]) {
  const bytes = new Uint8Array([0, 1, 2, 128, 254, 255]);
  const numbers = (value) => [...new Uint8Array(value)];
  const socket = io(url, { transports, forceNew: true });
  const back = new Promise((done) => socket.on("message-back", (text, value) => done([text, numbers(value)])));
  socket.emit("message", "text", bytes.buffer);
  const said = await back;
  const acked = new Promise((done) => socket.on("acked", (value, text) => done([numbers(value), text])));
  socket.on("please-ack", (value, answer) => answer(value, "thanks"));
  socket.emit("message-for-ack", bytes.buffer);
  const ack = await acked;
  while (socket.io.engine.transport.name !== transports.at(-1)) await new Promise((again) => setTimeout(again, 5));
  return [socket.io.engine.transport.name, said, ack];
}

test("nothing complained", quick, () => assert.deepEqual(chromium.complaints, []));
