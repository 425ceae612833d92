/**
 * Opens the tiny models that families.py made and writes them again, each in its own family: what `families.py --back` loads in transformers.
 *
 *     node --import tsx --conditions=@switchyard/source tools/parity/families.ts FOLDER && python3 tools/parity/families.py --back FOLDER
 */
import { Checkpoint } from "@switchyard/core"
import { Effect } from "effect"
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const folder = process.argv[2]
if (folder === undefined) throw new Error("say where: families.ts FOLDER")
const made = fileURLToPath(new URL("../../packages/routing/src/fixtures/families", import.meta.url))
for (const name of readdirSync(made)) {
  const checkpoint = await Effect.runPromise(Checkpoint.open(join(made, name)))
  await Effect.runPromise(Checkpoint.write(checkpoint, join(folder, name), { family: checkpoint.model.family }))
}
