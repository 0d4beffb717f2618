// The dashboard of the real `windrow demo` in Chromium: it moves, filters, survives, fits, and never breaks its own policy.

import assert from "node:assert/strict";
import { mkdir, stat } from "node:fs/promises";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { browser, demo, until } from "./program.mjs";

const PICTURES = new URL("../../target/browser/", import.meta.url);
const README_PICTURE = new URL("../../docs/dashboard.png", import.meta.url);

let server;
let chromium;

before(async () => {
  server = await demo(); // first: when it fails, nothing is left running
  chromium = await browser();
}, { timeout: 120_000 });

after(async () => {
  await chromium?.stop();
  await server?.stop();
});

const quick = { timeout: 120_000 };

async function open(options = {}, hash = "") {
  const page = await chromium.page(options);
  await page.goto(server.url + hash);
  await page.locator("#link[data-state=live]").waitFor();
  await page.locator("#rows tbody tr").first().waitFor();
  return page;
}

/** The channels of the server, as anybody sees them. */
async function channels() {
  const answer = await fetch(`${server.url}api/channels`);
  assert.equal(answer.status, 200);
  return answer.json();
}

const windowed = async () => (await channels()).find(({ kind, key }) => kind === "view" && key.includes("window_start") && key.length > 1);

const texts = (page, selector) => page.locator(selector).allTextContents();

test("numbers move without a reload", quick, async () => {
  const page = await open();
  const first = (await texts(page, "#rows tbody td")).join("|");
  await until(async () => (await texts(page, "#rows tbody td")).join("|") !== first);
  const rate = page.locator(".figure").first().locator(".figure-value");
  await until(async () => Number.parseFloat(await rate.textContent()) > 0);
  await page.locator("#chart canvas").waitFor();
  await page.context().close();
});

test("the table filters in place, tells what is wrong with a filter, and clears", quick, async () => {
  const { name, key } = await windowed();
  const page = await open({}, `#${name}`);
  const key0 = "#rows tbody td.key:nth-child(2)";
  const wanted = await page.locator(key0).first().textContent();
  await until(async () => new Set(await texts(page, key0)).size > 1);
  await page.fill("#where", `${key[0]} = '${wanted}'`);
  await page.click("#filter button[type=submit]");
  await until(async () => (await texts(page, key0)).length > 0 && (await texts(page, key0)).every((text) => text === wanted));
  assert.match(page.url(), /where=/);

  await page.fill("#where", `${key[0]} = = 'x'`);
  await page.click("#filter button[type=submit]");
  await page.locator("#filter-error").waitFor();
  assert.match(await page.locator("#filter-error").textContent(), /\^/, "the column is marked");

  await page.click("#clear");
  await until(async () => new Set(await texts(page, key0)).size > 1);
  assert.ok(await page.locator("#filter-error").isHidden());
  await page.context().close();
});

test("a key of the legend is a filter, and a link to a filter opens it", quick, async () => {
  const { name } = await windowed();
  const page = await open({}, `#${name}`);
  await page.locator("#legend button").first().click();
  await until(async () => (await page.locator("#where").inputValue()) !== "");
  await until(async () => (await texts(page, "#legend li")).length === 1);
  const again = await open({}, new URL(page.url()).hash);
  await until(async () => (await texts(again, "#legend li")).length === 1);
  await page.context().close();
  await again.context().close();
});

test("every channel opens, at the width of a phone too, without a sideways scroll", quick, async () => {
  const page = await open({ width: 360, height: 740, deviceScaleFactor: 2 });
  for (const { name } of await channels()) {
    await page.goto(`${server.url}#${name}`);
    await until(async () => (await page.locator("#channel-name").textContent()) === name);
    await page.locator("#channel-about").waitFor();
    const excess = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(excess <= 0, `${name} is ${excess} px too wide`);
  }
  await page.context().close();
});

test("dark and light follow the system, and the reader's own choice stays", quick, async () => {
  const page = await open({ colorScheme: "dark" });
  const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
  assert.equal(await theme(), "dark");
  await page.click("#theme");
  assert.equal(await theme(), "light");
  await page.reload();
  assert.equal(await theme(), "light");
  await page.context().close();
});

test("the page works by keyboard alone", quick, async () => {
  const page = await open();
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await page.locator("#chart canvas").focus();
  await page.keyboard.press("ArrowLeft");
  await page.locator("#chart .tip").waitFor();
  await page.locator("#rows thead th.number button").first().focus();
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("#rows thead th[aria-sort=descending]").count(), 1);
  await page.context().close();
});

test("nothing broke the policy, and the policy is strict", quick, async () => {
  const answer = await fetch(server.url);
  const policy = answer.headers.get("content-security-policy") ?? "";
  assert.match(policy, /default-src '(none|self)'/);
  assert.doesNotMatch(policy, /unsafe|\*|https?:/);
  assert.deepEqual(chromium.complaints, []);
});

test("a page survives its server", { timeout: 180_000 }, async () => {
  const page = await open();
  await server.stop("SIGKILL");
  await page.locator("#link[data-state=waiting]").waitFor();
  await page.locator("#notice").waitFor();
  server = await demo(server.port);
  await page.locator("#retry").click({ timeout: 2_000 }).catch(() => {}); // it may be back by itself
  await page.locator("#link[data-state=live]").waitFor();
  const shown = () => texts(page, "#rows tbody td");
  const first = (await shown()).join("|");
  await until(async () => (await shown()).length > 0 && (await shown()).join("|") !== first);
  chromium.complaints.length = 0; // refused connections while it was down
  await page.context().close();
});

test("a picture", quick, async () => {
  const forReadme = Boolean(process.env.WINDROW_SCREENSHOT);
  const picture = forReadme ? README_PICTURE : new URL("dashboard.png", PICTURES);
  await mkdir(PICTURES, { recursive: true });
  const page = await open({ height: 900, deviceScaleFactor: forReadme ? 2 : 1, reducedMotion: "reduce" }, `#${(await windowed()).name}`);
  // A minute of its own life, so that the line of the rate is drawn.
  if (forReadme) await until(async () => (await page.locator(".spark-line").first().getAttribute("d"))?.split("L").length > 40, 90_000);
  await page.screenshot({ path: fileURLToPath(picture) });
  assert.ok((await stat(picture)).size > 20_000, "the picture is empty");
  await page.context().close();
});
