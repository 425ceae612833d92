/** The bundle for hardware runs: it is made, finds its shaders and Dawn beside itself, and tells what agreed. */
import { describe, expect, test } from "@jest/globals"
import { execFileSync, spawnSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("../..", import.meta.url)), here = process.platform === "linux" && process.arch === "x64" ? describe : describe.skip
here("tools/hardware.mjs", () => {
  test("one file runs the device's suite; without a graphics processor it says so", () => {
    const out = mkdtempSync(join(tmpdir(), "switchyard-hardware-test-"))
    try {
      expect(execFileSync(process.execPath, [join(root, "tools", "hardware.mjs"), "--out", out], { encoding: "utf8" })).toMatch(/suite\.mjs: \d\.\d MB; dawn\.node beside it/)
      const run = (cwd: string, args: ReadonlyArray<string>, env: NodeJS.ProcessEnv) => spawnSync(process.execPath, [join(out, "suite.mjs"), "--match", "^(fill|swiglu)$", "--runs", "0", ...args], { encoding: "utf8", cwd, env })
      const done = run(root, ["--device", "software"], process.env), told = JSON.parse(done.stdout)
      expect([done.status, told.device, told.failures, told.kernels.failures, told.gradients]).toEqual([0, "software", 0, [], { cases: 1, failures: [] }])
      expect(told.kernels.cases).toBeGreaterThanOrEqual(10)
      const bare = run(out, ["--device", "software"], {}) // no node_modules in sight: SwiftShader cannot be found
      expect([bare.status, bare.stdout]).toEqual([1, ""])
      expect(bare.stderr).toContain("@sparticuz/chromium")
    } finally { rmSync(out, { recursive: true, force: true }) }
  })
})
