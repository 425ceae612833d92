/** The main job outside the repository: quickstart.ts, texts.ts and the seed model in an empty folder, with the packed packages and nothing of the source. */
import { afterAll, beforeAll, expect, test } from "@jest/globals"
import { execFileSync } from "node:child_process"
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const home = fileURLToPath(new URL("../..", import.meta.url)), packages = ["core", "gpu", "routing", "merge", "eval"]
const folder = mkdtempSync(join(tmpdir(), "switchyard-outside-"))
const run = (at: string, command: string, ...words: ReadonlyArray<string>): string => execFileSync(command, words, { cwd: at, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, NO_COLOR: "1" } })

beforeAll(() => {
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "outside", private: true, type: "module" }))
  for (const name of packages) {
    const [packed] = JSON.parse(run(join(home, "packages", name), "npm", "pack", "--json", "--ignore-scripts", "--pack-destination", folder)) as [{ filename: string }]
    const to = join(folder, "node_modules/@switchyard", name)
    mkdirSync(to, { recursive: true })
    run(folder, "tar", "-xzf", packed.filename, "-C", to, "--strip-components", "1")
  }
  // third parties, the texts' packages and a runner of TypeScript come from the registry; here they are linked
  for (const entry of readdirSync(join(home, "node_modules"))) {
    for (const name of entry.startsWith("@") ? readdirSync(join(home, "node_modules", entry)).map((each) => `${entry}/${each}`) : [entry]) {
      const to = join(folder, "node_modules", name)
      if (name.startsWith("@switchyard/") || name.startsWith(".") || existsSync(to)) continue
      mkdirSync(dirname(to), { recursive: true })
      symlinkSync(join(home, "node_modules", name), to)
    }
  }
  for (const script of ["quickstart.ts", "texts.ts"]) cpSync(join(home, "pipelines", script), join(folder, script))
  cpSync(join(home, "models/seed"), join(folder, "model"), { recursive: true })
}, 240_000)
afterAll(() => { rmSync(folder, { recursive: true, force: true }) })

test("quickstart runs all its stages, a second time none, and hands out what it promises", () => {
  const quickstart = () => run(folder, process.execPath, "--import", "tsx", "quickstart.ts", "run", "--small", "--device", "host", "--model", "model", "--store", "store", "--out", "out")
  expect(quickstart()).toMatch(/quickstart: \d\d stages run, 0 kept/)
  expect(quickstart()).toMatch(/quickstart: 0 stages run, \d\d kept/)
  const given = readdirSync(join(folder, "out"), { recursive: true }).map(String)
  for (const file of ["report.json", "report.md", "report.html", "results.arrow", "trace.arrow", ...["seed", "mixture", "compressed", "routed", "experts/law"].map((name) => `${name}/${name.startsWith("experts") ? "adapter_" : ""}config.json`)]) expect(given).toContain(file)
  const { values } = JSON.parse(readFileSync(join(folder, "out/report.json"), "utf8")) as { values: ReadonlyArray<{ readonly value: number }> }
  expect(values.length).toBeGreaterThan(100)
  for (const { value } of values) expect(Number.isFinite(value)).toBe(true)
}, 240_000)
