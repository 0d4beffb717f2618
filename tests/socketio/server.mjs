// The servers under test. In: WINDROW_BIN, or WINDROW_SOCKETIO_ECHO, a command line that takes the options of `windrow debug
// socketio-echo` (another server, to check the tests themselves). Out: running processes with their addresses. Must stay true:
// whatever starts here is stopped here, also when a test fails.

import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const BINARY = process.env.WINDROW_BIN ?? fileURLToPath(new URL("../../target/debug/windrow", import.meta.url));
const ECHO = process.env.WINDROW_SOCKETIO_ECHO?.split(" ") ?? [BINARY, "debug", "socketio-echo"];
const READY_MS = 30_000;

/** How long any condition may take to come true. */
export const CONDITION_MS = 20_000;

/** Asks until the answer is true, and returns it: a condition with a deadline, never a pause that hopes. */
export async function until(condition, why = "the condition did not come true", ms = CONDITION_MS) {
  const end = Date.now() + ms;
  for (;;) {
    const answer = await condition();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(typeof why === "function" ? why() : why);
    await new Promise((again) => setTimeout(again, 5));
  }
}

/** Resolves as the promise does, or fails with `why` at the deadline. */
export function within(promise, why, ms = CONDITION_MS) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(typeof why === "function" ? why() : why)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Starts the echo; times are in ms, `heartbeat` is `[interval, timeout]`. `port` makes a second one follow a first at the same place. */
export async function echo({ heartbeat = [25_000, 20_000], port, versions, origin, connectTimeout = 45_000 } = {}) {
  port ??= await freePort();
  const [interval, timeout] = heartbeat;
  const options = ["--port", port, "--ping-interval", `${interval}ms`, "--ping-timeout", `${timeout}ms`, "--max-payload", "1000000",
    "--connect-timeout", `${connectTimeout}ms`];
  if (origin) options.push("--origin", origin);
  if (versions) options.push("--versions", versions);
  const server = await start([...ECHO, ...options.map(String)], port, "/socket.io/?EIO=4&transport=polling");
  return { ...server, interval, timeout };
}

/** Starts `windrow serve` on an embedded log of its own. `PORT` and `DIRECTORY` in the configuration are replaced. `again` ends it as an
 *  operator does, and starts it on what it left. */
export async function serve(config) {
  const port = await freePort();
  const place = await mkdtemp(join(tmpdir(), "windrow-socketio-"));
  const file = join(place, "windrow.toml");
  await writeFile(file, config.replaceAll("PORT", String(port)).replaceAll("DIRECTORY", join(place, "data")));
  const clean = () => rm(place, { recursive: true, force: true });
  const run = async () => {
    const server = await start([BINARY, "serve", "--config", file], port, "/readyz", clean);
    const again = async () => {
      await server.end("SIGTERM");
      return run();
    };
    return { ...server, again };
  };
  return run();
}

const running = new Set();

/** Ends whatever runs, also what a test that failed has left. */
export const stopAll = () => Promise.all([...running].map((stop) => stop()));

async function start([program, ...options], port, probe, clean = () => {}) {
  const child = spawn(program, options, { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  child.stdout.on("data", (data) => (said += data));
  child.stderr.on("data", (data) => (said += data));
  let over = false;
  const ended = new Promise((end) => child.once("exit", end).once("error", (error) => end((said += error)))).then(() => (over = true));
  const end = async (signal) => {
    running.delete(stop);
    child.kill(signal);
    await ended;
  };
  const stop = async () => {
    await end("SIGKILL");
    await clean();
  };
  running.add(stop);
  const url = `http://127.0.0.1:${port}`;
  const ready = async () => over || (await fetch(url + probe).catch(() => null))?.status === 200;
  try {
    await until(ready, "it does not answer", READY_MS);
    if (over) throw new Error("it ended");
  } catch (error) {
    await stop();
    throw new Error(`${program} ${options.join(" ")} is not ready (${error.message}); it said:\n${said}`);
  }
  return { url, port, end, stop };
}

/** A port that is free, below those that systems give to clients: none of those takes it while a server is away. */
export async function freePort() {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    const server = createServer();
    const free = await new Promise((answer) => server.once("error", () => answer(false)).listen(port, "127.0.0.1", () => answer(true)));
    await new Promise((closed) => server.close(closed));
    if (free) return port;
  }
}
