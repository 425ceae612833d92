/**
 * Timing on machines that others use too: everything that is compared runs in turns, so that all see the same machine, and what is told is
 * the median of the turns with its quartiles, beside the least time that the same machine's best copy and best product would allow.
 */
import { Effect } from "effect"

/** One run's times. `processor`: of all threads that worked on it, which other programs on the machine disturb least. Units: milliseconds. */
export interface Timing { readonly wall: number; readonly processor?: number }

/** One thing to be timed. Units: milliseconds, floating-point operations, bytes that its kernels read and write. */
export interface Case {
  readonly name: string
  readonly device: string
  readonly adapter: string
  readonly shape: string
  /** What one run does; undefined where it is another program's. */
  readonly work?: { readonly flops: number; readonly bytes: number }
  /** How its best rate sets the device's floors: `copy` by bytes, `product` by operations. */
  readonly floor?: "copy" | "product"
  /** The name of the case, of the same device and shape, whose median its own is divided by; of several the quickest. */
  readonly against?: string | ReadonlyArray<string>
  /** What the project expects of that ratio: at most. */
  readonly atMost?: number
  /** Gives it a second row, by processor time, and that row's own `against` where it differs. */
  readonly processor?: { readonly against?: string }
  /** Runs once. */
  readonly time: Effect.Effect<Timing, Failed>
}
/** A case could not be timed. */
export interface Failed { readonly message: string }

export interface Row {
  readonly name: string
  readonly device: string
  readonly adapter: string
  readonly shape: string
  readonly milliseconds: number
  readonly lowerQuartile: number
  readonly upperQuartile: number
  readonly runs: number
  readonly floor: number | null
  readonly against: string
  readonly ratio: number | null
  readonly atMost: number | null
}

/** Between the sorted values nearest to `at` (0 to 1) in proportion, as most statistics programs do it. */
export const quantile = (values: ReadonlyArray<number>, at: number): number => {
  const sorted = values.toSorted((a, b) => a - b), place = at * (sorted.length - 1), low = Math.floor(place), high = Math.ceil(place)
  return sorted[low]! + (sorted[high]! - sorted[low]!) * (place - low)
}

/** Runs `work` once on both clocks; `times`: how often it does what is timed. */
export const clocked = <A, E, R>(work: Effect.Effect<A, E, R>, times = 1): Effect.Effect<Timing, E, R> => Effect.suspend(() => {
  const start = performance.now(), used = process.cpuUsage()
  return Effect.map(work, () => {
    const { system, user } = process.cpuUsage(used)
    return { wall: (performance.now() - start) / times, processor: (user + system) / 1000 / times }
  })
})

/** Times of every case, in `runs` rounds over all of them after one round that does not count. A case that fails leaves the rounds; `skipped` is told why. */
export const samples = (cases: ReadonlyArray<Case>, runs: number, told: { readonly progress: (done: number, total: number) => void; readonly skipped: (name: string, why: string) => void }) => Effect.gen(function*() {
  const found = new Map(cases.map((each) => [each, [] as Array<Timing>]))
  for (let run = -1; run < runs; run++) for (const each of cases) {
    if (!found.has(each)) continue
    const timing = yield* Effect.match(each.time, { onSuccess: (time) => time, onFailure: ({ message }) => { told.skipped(`${each.name} on ${each.device}`, message); return undefined } })
    if (timing === undefined) { found.delete(each); continue }
    if (run >= 0) found.get(each)!.push(timing)
    told.progress((run + 1) * cases.length + cases.indexOf(each) + 1, (runs + 1) * cases.length)
  }
  return found as ReadonlyMap<Case, ReadonlyArray<Timing>>
})

/** The rows of a table of these samples, floors and ratios included. */
export const rows = (measured: ReadonlyMap<Case, ReadonlyArray<Timing>>): ReadonlyArray<Row> => {
  const all = [...measured]
  const median = (timings: ReadonlyArray<Timing>, clock: keyof Timing = "wall") => quantile(timings.map((timing) => timing[clock] ?? NaN), 0.5)
  /** The best rate of a device, per millisecond. */
  const best = (device: string, floor: Case["floor"], of: "flops" | "bytes"): number =>
    Math.max(0, ...all.filter(([each]) => each.device === device && each.floor === floor).map(([{ work }, timings]) => work![of] / median(timings)))
  const row = ([each, timings]: readonly [Case, ReadonlyArray<Timing>], clock: keyof Timing): Row => {
    const { adapter, atMost, device, name, shape, work } = each, times = timings.map((timing) => timing[clock]!), suffix = clock === "wall" ? "" : ", processor time"
    const candidates = [clock === "wall" ? each.against : each.processor?.against ?? each.against].flat()
    const bandwidth = best(device, "copy", "bytes"), rate = best(device, "product", "flops")
    const other = all.filter(([candidate]) => candidates.includes(candidate.name) && candidate.device === device && candidate.shape === shape).sort(([, a], [, b]) => median(a, clock) - median(b, clock))[0]
    return {
      name: `${name}${suffix}`, device, adapter, shape, milliseconds: quantile(times, 0.5), lowerQuartile: quantile(times, 0.25), upperQuartile: quantile(times, 0.75), runs: times.length,
      floor: clock === "processor" || work === undefined || bandwidth === 0 || rate === 0 ? null : Math.max(work.bytes / bandwidth, work.flops / rate),
      against: other === undefined ? "" : `${other[0].name}${suffix}`, ratio: other === undefined ? null : quantile(times, 0.5) / median(other[1], clock), atMost: other === undefined ? null : atMost ?? null
    }
  }
  return all.flatMap((each) => [row(each, "wall"), ...each[0].processor === undefined ? [] : [row(each, "processor")]])
}
