// The dashboard's modules, for node. In: a module's name. Out: its exports. They are copied beside a package.json that calls them
// modules, which web/ itself does not need and should not serve.

import { cp, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const WEB = fileURLToPath(new URL("../../web/", import.meta.url));

const copy = (async () => {
  const folder = await mkdtemp(join(tmpdir(), "windrow-web-"));
  await cp(WEB, folder, { recursive: true });
  await writeFile(join(folder, "package.json"), '{"type":"module"}\n');
  return folder;
})();

export async function web(name) {
  return import(pathToFileURL(join(await copy, name)).href);
}
