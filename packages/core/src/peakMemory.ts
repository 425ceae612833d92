/**
 * The most memory that this process has held at once.
 */
import { readFileSync } from "node:fs"

/** Units: bytes. Linux's `maxRSS` begins with the peak of the process that started this one, so there the kernel's own mark for this program counts. */
export const peakMemory = (): number => {
  try {
    const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]
    if (kilobytes !== undefined) return Number(kilobytes) * 1024
  } catch { /* no Linux */ }
  return process.resourceUsage().maxRSS * 1024
}
