// Every client in every form does every feature, and the table in docs/PROTOCOL.md says which. `WINDROW_TABLE=write` writes it.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { channels } from "./channels.mjs";
import { FEATURES } from "./features.mjs";
import { JavaScript } from "./javascript.mjs";
import { Python } from "./python.mjs";
import { echo, stopAll } from "./server.mjs";
import { FORMS, documented, render, write } from "./table.mjs";

const CLIENTS = [...[4, 3, 2, 1].map((generation) => new JavaScript(generation)), ...[5, 4].map((generation) => new Python(generation))];
const SERVERS = {
  calm: () => echo(),
  quick: () => echo({ heartbeat: [500, 2500] }),
  live: () => channels(),
  recovering: () => channels({ recovery: true }),
};
const servers = {};
const passed = new Map(CLIENTS.map((client) => [client, new Map(FEATURES.map((feature) => [feature, []]))]));

before(async () => {
  // A server that does not start fails the tests that ask for its address, and no others.
  const start = ([name, start]) => start().catch((error) => ({ get url() { throw error; } })).then((running) => (servers[name] = running));
  await Promise.all([...Object.entries(SERVERS).map(start), ...CLIENTS.map((client) => client.start())]);
}, { timeout: 60_000 });
after(() => Promise.all([stopAll(), ...CLIENTS.map((client) => client.stop())]));

const declare = (title, client, form, feature) => test(title, { timeout: 60_000 }, async () => {
  await feature.test(client, form, servers);
  passed.get(client).get(feature).push(form);
});

for (const client of CLIENTS) {
  for (const form of FORMS) {
    describe(`${client.name} ${client.version} by ${form}`, { concurrency: true }, () => {
      for (const feature of FEATURES.filter(({ able, isIdle }) => able(client) && !isIdle)) declare(feature.name, client, form, feature);
    });
  }
}

// All at once and nothing beside them: a client that others keep from its heartbeat is no test of it.
for (const feature of FEATURES.filter(({ isIdle }) => isIdle)) {
  describe(feature.name, { concurrency: true }, () => {
    for (const client of CLIENTS) for (const form of FORMS) declare(`${client.name} ${client.version} by ${form}`, client, form, feature);
  });
}

test("the table in docs/PROTOCOL.md says what passed", { timeout: 60_000 }, async () => {
  const table = render(CLIENTS, FEATURES, passed);
  if (process.env.WINDROW_TABLE === "write") await write(table);
  assert.equal(await documented(), table, "WINDROW_TABLE=write writes it, once all is well");
});
