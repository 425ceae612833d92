import { describe, expect, test } from "@jest/globals"
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { peakMemory } from "./peakMemory.ts"

describe("peak memory", () => {
  test("what was held once is in it, also after it is gone", () => {
    const before = peakMemory()
    let held: Uint8Array | undefined = new Uint8Array(200e6).fill(1)
    expect(held.at(-1)).toBe(1)
    held = undefined
    expect(peakMemory()).toBeGreaterThan(Math.max(200e6, before))
  })
  test("a process does not begin with the peak of the one that started it", () => {
    const large = new Uint8Array(400e6).fill(1)
    const { stdout } = spawnSync(process.execPath, ["--import", "tsx", "--input-type=module", "-e", `import { peakMemory } from ${JSON.stringify(fileURLToPath(new URL("peakMemory.ts", import.meta.url)))}; process.stdout.write(String(peakMemory()))`], { encoding: "utf8" })
    expect(large.at(-1)).toBe(1)
    expect(Number(stdout)).toBeGreaterThan(20e6)
    expect(Number(stdout)).toBeLessThan(300e6)
  })
})
