import { describe, expect, test } from "@jest/globals"
import { spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"

/** What a process of its own prints: the one that runs the tests has a past, and with it a peak. */
const printed = (body: string): Array<number> => {
  const script = `import { peakMemory } from ${JSON.stringify(fileURLToPath(new URL("peakMemory.ts", import.meta.url)))}; ${body}`
  const { status, stdout, stderr } = spawnSync(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script], { encoding: "utf8" })
  if (status !== 0) throw new Error(stderr)
  return JSON.parse(stdout)
}

describe("peak memory", () => {
  test("what was held once is in it, also after it is gone", () => {
    const [before, held, after] = printed(`
      const before = peakMemory()
      let held = new Uint8Array(200e6).fill(1)
      const byte = held.at(-1)
      held = undefined
      process.stdout.write(JSON.stringify([before, byte, peakMemory()]))`)
    expect(held).toBe(1)
    expect(after! - before!).toBeGreaterThan(180e6)
    expect(after! - before!).toBeLessThan(300e6)
  })
  test("a process does not begin with the peak of the one that started it", () => {
    const large = new Uint8Array(400e6).fill(1)
    const [peak] = printed("process.stdout.write(JSON.stringify([peakMemory()]))")
    expect(large.at(-1)).toBe(1)
    expect(peak).toBeGreaterThan(20e6)
    expect(peak).toBeLessThan(300e6)
  })
})
