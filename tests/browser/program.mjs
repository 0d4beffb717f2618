// The real program and the real browser. In: WINDROW_BIN, WINDROW_CHROMIUM. Out: a running `windrow demo`, or an example; pages that record
// every complaint. Must stay true: whatever starts here is stopped here, also when a test fails.

import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const BINARY = process.env.WINDROW_BIN ?? fileURLToPath(new URL("../../target/debug/windrow", import.meta.url));
const BROWSER = process.env.WINDROW_CHROMIUM ?? "/usr/bin/chromium";
const READY_MS = 60_000;
const CONDITION_MS = 30_000;

// Without these, a closed network is asked for updates, suggestions and the like.
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"];

/** Starts `windrow demo`; returns `{url, port, stop}` when it is ready. */
export async function demo(port) {
  port ??= await freePort();
  const url = `http://127.0.0.1:${port}/`;
  return { url, port, stop: await start(["demo", "--port", String(port), "--no-open"], () => ({}), url) };
}

/** Starts an example on the embedded log, with these settings; returns `{url, inside, stop}` when it is ready. */
export async function serve(config, settings) {
  const [port, inside] = [await freePort(), await freePort()];
  const [url, insideUrl] = [port, inside].map((port) => `http://127.0.0.1:${port}/`);
  const file = fileURLToPath(new URL(`../../${config}`, import.meta.url));
  const env = (data) => ({ WINDROW_LOG: "embedded", WINDROW_DATA: join(data, "log"), BIND: "127.0.0.1", PORT: String(port), INSIDE_PORT: String(inside), ...settings });
  return { url, inside: insideUrl, stop: await start(["serve", "--config", file], env, insideUrl) };
}

/** Starts the program; returns what stops it when it is ready. */
async function start(command, settings, url) {
  // Its data goes into a folder of ours, so that a program that is killed leaves nothing behind.
  const data = await mkdtemp(join(tmpdir(), "windrow-browser-test-"));
  const options = { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, TMPDIR: data, ...settings(data) } };
  const child = spawn(BINARY, command, options);
  let said = "";
  child.stdout.on("data", (data) => (said += data));
  child.stderr.on("data", (data) => (said += data));
  const ended = new Promise((end) => child.once("exit", end).once("error", (error) => end((said += error))));
  const stop = async (signal = "SIGTERM") => {
    child.kill(signal);
    await ended;
    await rm(data, { recursive: true, force: true });
  };
  const ready = async () => (await fetch(`${url}readyz`).catch(() => null))?.status === 200;
  try {
    await until(ready, READY_MS, () => `windrow ${command[0]} is not ready; it said:\n${said}`, () => child.exitCode !== null);
  } catch (error) {
    await stop("SIGKILL");
    throw error;
  }
  return stop;
}

/** Asks until the answer is true: a condition with a deadline, never a pause that hopes. */
export async function until(condition, ms = CONDITION_MS, why = () => "the condition did not come true", lost = () => false) {
  const end = Date.now() + ms;
  while (!(await condition())) {
    if (Date.now() > end || lost()) throw new Error(why());
    await new Promise((again) => setTimeout(again, 50));
  }
}

/** Starts Chromium; `page(options)` opens pages, `complaints` is what their consoles, scripts and policies said. */
export async function browser() {
  const profile = await mkdtemp(join(tmpdir(), "windrow-chromium-"));
  const running = await chromium.launch({ executablePath: BROWSER, headless: true, args: FLAGS, env: { ...process.env, HOME: profile } });
  const complaints = [];
  const page = async ({ width = 1280, height = 860, ...options } = {}) => {
    const context = await running.newContext({ viewport: { width, height }, ...options });
    context.setDefaultTimeout(CONDITION_MS);
    await context.addInitScript(() => addEventListener("securitypolicyviolation", (event) => {
      console.error(`content policy: ${event.violatedDirective} ${event.blockedURI}`);
    }));
    const opened = await context.newPage();
    opened.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    opened.on("pageerror", (error) => complaints.push(String(error.stack)));
    return opened;
  };
  const stop = async () => {
    await running.close();
    await rm(profile, { recursive: true, force: true });
  };
  return { page, complaints, stop };
}

async function freePort() {
  const server = createServer();
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  const { port } = server.address();
  await new Promise((closed) => server.close(closed));
  return port;
}
