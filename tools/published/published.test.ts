/**
 * The packages as a stranger gets them: packed, unpacked into an empty folder, compiled against by a strict program, run with and
 * without onnxruntime-node. Third-party packages are linked from this repository's node_modules, so no network is needed.
 */
import { afterAll, beforeAll, expect, test } from "@jest/globals"
import { execFileSync } from "node:child_process"
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"

const home = fileURLToPath(new URL("../..", import.meta.url)), packages = ["core", "gpu", "routing", "merge", "eval"]
const folder = mkdtempSync(join(tmpdir(), "switchyard-published-"))
const run = (at: string, command: string, ...words: ReadonlyArray<string>): string => execFileSync(command, words, { cwd: at, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] })
const link = (name: string): void => {
  const to = join(folder, "node_modules", name)
  if (existsSync(to)) return
  mkdirSync(dirname(to), { recursive: true })
  symlinkSync(join(home, "node_modules", name), to)
}

beforeAll(() => {
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "stranger", private: true, type: "module" }))
  for (const name of packages) {
    const [packed] = JSON.parse(run(join(home, "packages", name), "npm", "pack", "--json", "--ignore-scripts", "--pack-destination", folder)) as [{ filename: string }]
    const to = join(folder, "node_modules/@switchyard", name)
    mkdirSync(to, { recursive: true })
    run(folder, "tar", "-xzf", packed.filename, "-C", to, "--strip-components", "1")
    const { dependencies = {}, peerDependencies = {} } = JSON.parse(readFileSync(join(to, "package.json"), "utf8")) as { dependencies?: Record<string, string>; peerDependencies?: Record<string, string> }
    for (const dependency of Object.keys({ ...dependencies, ...peerDependencies })) if (!dependency.startsWith("@switchyard/") && dependency !== "onnxruntime-node") link(dependency)
  }
  for (const name of ["@types/node", "undici-types"]) if (existsSync(join(home, "node_modules", name))) link(name)
  cpSync(join(home, "tools/published/program.ts"), join(folder, "program.ts"))
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({
    compilerOptions: { strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, module: "nodenext", target: "es2022", lib: ["es2023"], types: ["node"], skipLibCheck: true, outDir: "out" }, files: ["program.ts"]
  }))
}, 240_000)
afterAll(() => { rmSync(folder, { recursive: true, force: true }) })

test("nothing but what is needed is packed: no test, the licence, the readme", () => {
  for (const name of packages) {
    const files = run(join(folder, "node_modules/@switchyard", name), "find", ".", "-type", "f").split("\n")
    expect(files.filter((file) => /\.test\./.test(file))).toEqual([])
    for (const needed of ["./LICENSE", "./README.md", "./CHANGELOG.md", "./dist/index.js", "./dist/index.d.ts"]) expect(files).toContain(needed)
  }
})

const check = (output: string) => {
  const found = JSON.parse(output) as { device: string; product: ReadonlyArray<number>; mergeError: number; experts: ReadonlyArray<number>; weightSums: ReadonlyArray<number> }
  expect(found.product).toEqual([4, 2, 10, 5])
  expect(found.mergeError).toBeLessThan(1e-6)
  for (let row = 0; row < 16; row++) expect(new Set(found.experts.slice(2 * row, 2 * row + 2)).size).toBe(2)
  found.experts.forEach((expert) => { expect([0, 1, 2]).toContain(expert) })
  found.weightSums.forEach((sum) => { expect(sum).toBeCloseTo(1, 5) })
  return found.device
}

test("a strict program compiles against all five and runs: without onnxruntime-node, then with it, inline and on a worker", () => {
  run(folder, process.execPath, join(home, "node_modules/typescript/bin/tsc"), "-p", "tsconfig.json")
  expect(check(run(folder, process.execPath, "out/program.js", "0"))).not.toMatch(/onnxruntime/i)
  for (const name of ["onnxruntime-node", "onnxruntime-common"]) if (existsSync(join(home, "node_modules", name))) link(name)
  expect(check(run(folder, process.execPath, "out/program.js", "0"))).toMatch(/onnxruntime/i)
  expect(check(run(folder, process.execPath, "out/program.js", "1"))).toMatch(/onnxruntime/i)
}, 120_000)
