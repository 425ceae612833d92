/** Every example of the packages' READMEs runs as it stands, in a folder with nothing but the packages and the seed model, and prints what its README says. */
import { afterAll, beforeAll, expect, test } from "@jest/globals"
import { execFileSync } from "node:child_process"
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const home = fileURLToPath(new URL("../..", import.meta.url))
const folder = mkdtempSync(join(tmpdir(), "switchyard-readmes-"))
beforeAll(() => {
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "reader", private: true, type: "module" }))
  symlinkSync(join(home, "node_modules"), join(folder, "node_modules"))
  mkdirSync(join(folder, "models"))
  symlinkSync(join(home, "models/seed"), join(folder, "models/seed"))
})
afterAll(() => { rmSync(folder, { recursive: true, force: true }) })

/** A README's TypeScript blocks, each with what the README says that it prints: the block after the word "prints". */
const examplesOf = (name: string): ReadonlyArray<{ readonly name: string; readonly code: string; readonly prints: string | undefined }> =>
  [...readFileSync(join(home, "packages", name, "README.md"), "utf8").matchAll(/```ts\n([^]*?)```(?:\nprints\n```\n([^]*?)```)?/g)].map(([, code, prints], at) => ({ name: `${name}-${at}`, code: code!, prints }))
const run = (name: string, code: string): string => {
  writeFileSync(join(folder, `${name}.ts`), code)
  return execFileSync(process.execPath, ["--import", "tsx", "--conditions=@switchyard/source", `${name}.ts`], { cwd: folder, encoding: "utf8", env: { ...process.env, NO_COLOR: "1", FORCE_COLOR: "0" } })
}

test.each(["core", "gpu", "routing", "merge", "eval"])("%s", (name) => {
  const examples = examplesOf(name)
  expect(examples.length).toBeGreaterThan(0)
  for (const { code, name, prints } of examples) {
    const printed = run(name, code)
    expect(printed).not.toBe("")
    if (prints !== undefined) expect(printed).toBe(prints)
    else for (const [, said] of code.matchAll(/console\.log\(.*\) *(?:\)+)? *\/\/ (\{[^}]*\}|-?\d[\d. -]*)$/gm)) expect(printed.replace(/[[\],]/g, "")).toContain(said!.replace(/[[\],]/g, "").trim())
  }
}, 60_000)
