/**
 * `eval:bench`: what kernels, layers and training steps cost on every device that is present, beside what the machine's own best copy and
 * product allow and beside other libraries where they are installed; and what loading and converting a model takes of time and memory. Nothing is remembered: a timing belongs to its moment.
 */
import { File, Table, Tables } from "@switchyard/core"
import { Device } from "@switchyard/gpu"
import { Console, Context, Effect, Layer, Option } from "effect"
import { Command, Flag } from "effect/cli"
import { cpus, loadavg, totalmem } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Report from "../Report.ts"
import { bytes } from "../reportTables.ts"
import { onDevice, productWithTransfers, sizes } from "./benches.ts"
import * as Decoding from "./decoding.ts"
import * as Loading from "./loading.ts"
import { type Case, type Failed, type Row, rows, samples } from "./measure.ts"
import * as Peers from "./peers.ts"
import { aligned } from "./present.ts"
import { common, place, start, TargetError } from "./target.ts"

/** Below so many runs medians are no figures, and shapes are small. */
const enough = 5

/** Prediction and measurement of a program's memory. Units: bytes. */
export interface MemoryRow { readonly name: string; readonly device: string; readonly predicted: number; readonly measured: number }
export interface Bench { readonly rows: ReadonlyArray<Row>; readonly memory: ReadonlyArray<MemoryRow>; readonly loading: ReadonlyArray<Loading.Loading>; readonly skipped: ReadonlyArray<string>; readonly runs: number }

const say = (text: string) => { process.stderr.write(`${text}\n`) }

/** Times everything on these devices, and loading once. Options: `runs`; `peers` false leaves other libraries out, `loading` false the loading. Fails: a device's failures. */
export const bench = (devices: ReadonlyArray<Device.Service>, options: { readonly runs: number; readonly seed: number; readonly peers: boolean; readonly loading?: boolean }) => Effect.scoped(Effect.gen(function*() {
  const { runs, seed } = options, cases: Array<Case> = [], skipped: Array<string> = [], memory: Array<Effect.Success<ReturnType<typeof onDevice>>["memory"][number]> = []
  const skip = (name: string, why: string) => { skipped.push(`${name}: ${why}`); say(`left out: ${name}: ${why}`) }
  const join = (name: string, made: Effect.Effect<Case, Failed>) => Effect.match(made, { onFailure: ({ message }) => skip(name, message), onSuccess: (each) => { cases.push(each) } })
  for (const device of devices) {
    const size = runs < enough ? sizes.look : device.name === "software" ? sizes.software : sizes.full
    const own = yield* onDevice(device, size, seed)
    cases.push(...own.cases)
    memory.push(...own.memory)
    const decoding = runs < enough ? Decoding.look : Decoding.smol
    if (device.name === "host") cases.push(...yield* Decoding.cases(device, decoding, seed))
    if (!options.peers) continue
    if (device.name === "host") {
      const threads = Math.max(1, device.replicas)
      for (const [name, made] of [["transformers", Peers.transformers(decoding, device.name, threads)], ["transformers.js", runs < enough ? Effect.fail<Failed>({ message: "its model has the full size" }) : Peers.transformersJs(decoding, device.name, threads)]] as const) {
        yield* Effect.match(made, { onFailure: ({ message }) => skip(name, message), onSuccess: (theirs) => { cases.push(...theirs) } })
      }
      const like = own.cases.find(({ name }) => name === "training step")!
      for (const threads of [Math.max(2, device.replicas), 1]) yield* join(`PyTorch, ${threads} threads`, Peers.torch(like, { batch: size.batch, tokens: size.tokens, threads, steps: 3 }))
    }
    if (device.name === "software") {
      const side = runs < enough ? 64 : 512, product = yield* productWithTransfers(device, side, seed)
      cases.push(product.case)
      yield* join("onnxruntime-node's WebGPU provider", Peers.onnxWebgpu(product.case, { rows: side, left: product.left, right: product.right, expected: yield* product.run }))
    }
  }
  let told = 0
  const found = yield* samples(cases, runs, { skipped: skip, progress: (done, total) => { if (Date.now() - told > 2000) { told = Date.now(); say(`bench ${done} of ${total} timings`) } } })
  const measured = yield* Effect.forEach(memory, (each) => Effect.map(each.measured, (measured): MemoryRow => ({ name: each.name, device: each.device, predicted: each.predicted, measured })))
  const loading = options.loading === false ? [] : yield* Effect.matchEffect(Loading.loading(runs < enough ? Loading.sizes.look : Loading.sizes.full, seed), {
    onFailure: ({ message }) => Effect.sync((): ReadonlyArray<Loading.Loading> => { skip("loading", message); return [] }), onSuccess: Effect.succeed
  })
  return { rows: rows(found), memory: measured, loading, skipped, runs } satisfies Bench
}))

/** The timings as a Bench table. */
export const toTable = (rows: ReadonlyArray<Row>): Table.Table<Tables.Bench> => {
  const column = <K extends keyof Row>(name: K) => rows.map((row) => row[name])
  return Table.make(Tables.Bench, {
    name: column("name"), device: column("device"), adapter: column("adapter"), shape: column("shape"), milliseconds: column("milliseconds"), lowerQuartile: column("lowerQuartile"),
    upperQuartile: column("upperQuartile"), runs: column("runs"), floor: column("floor"), against: column("against"), ratio: column("ratio")
  })
}

/** Three significant digits. */
const short = (value: number): string => value >= 100 ? value.toFixed(0) : value.toPrecision(3)
const headings = ["what", "device", "shape", "ms", "quartiles", "times its floor", "against", "ratio"]
const cells = (row: Row): ReadonlyArray<string> => [
  row.name, row.device, row.shape, short(row.milliseconds), `${short(row.lowerQuartile)} … ${short(row.upperQuartile)}`, row.floor === null ? "" : (row.milliseconds / row.floor).toFixed(1), row.against,
  row.ratio === null ? "" : `${row.ratio.toFixed(2)}${row.atMost === null ? "" : row.ratio <= row.atMost ? ` (at most ${row.atMost.toFixed(2)})` : ` (expected at most ${row.atMost.toFixed(2)})`}`
]
const memoryCells = (row: MemoryRow): ReadonlyArray<string> => [row.name, row.device, bytes(row.predicted), bytes(row.measured), `${row.measured >= row.predicted ? "+" : "−"}${Math.abs(100 * (row.measured / row.predicted - 1)).toFixed(1)} %`]
const memoryHeadings = ["what", "device", "predicted", "measured", "difference"]

const markdownTable = (head: ReadonlyArray<string>, lines: ReadonlyArray<ReadonlyArray<string>>): string => [head, head.map(() => "---"), ...lines].map((line) => `| ${line.join(" | ")} |`).join("\n")

/** The machine and the moment, in words. */
export const circumstances = (runs: number, now = new Date()): string => {
  const processors = cpus()
  return `${now.toISOString().slice(0, 10)}; ${processors.length} × ${processors[0]?.model.trim() ?? "processor"}, ${bytes(totalmem())} of memory, ${process.platform}-${process.arch}, Node ${process.versions.node}, load average ${loadavg()[0]!.toFixed(1)}; medians of ${runs} interleaved runs`
}

/** The figures as Markdown: what `--write` puts into docs/benchmarks.md. */
export const markdown = ({ loading, memory, rows, runs, skipped }: Bench, now?: Date): string => {
  const adapters = [...new Set(rows.map(({ adapter, device }) => `- ${device}: ${adapter}`))]
  return [
    `${circumstances(runs, now)}${loading.length === 0 ? "" : ", loading once"}.`, ...adapters.length === 0 ? [] : [adapters.join("\n")],
    markdownTable(headings, rows.map(cells)), markdownTable(memoryHeadings, memory.map(memoryCells)),
    ...loading.length === 0 ? [] : [markdownTable(Loading.headings, loading.map(Loading.cells))],
    ...skipped.length === 0 ? [] : [`Left out: ${skipped.join("; ")}.`]
  ].join("\n\n")
}

/** The report: milliseconds and memory as values, so that they stand in the Results table too. */
export const report = (found: Bench, seed: number): Report.Report => Report.make({
  title: "Benchmarks", seed, split: "none", banner: `${circumstances(found.runs)}.${found.runs < enough ? " A look at small shapes, no figures." : ""}`,
  values: [
    ...found.rows.map((row): Report.Value => ({ model: row.device, task: `${row.name}, ${row.shape}`, metric: "milliseconds", unit: "milliseconds", value: row.milliseconds, count: row.runs, standardError: null })),
    ...found.memory.flatMap(({ device, measured, name, predicted }): ReadonlyArray<Report.Value> => [
      { model: device, task: name, metric: "memory, predicted", unit: "bytes", value: predicted, count: 1, standardError: null },
      { model: device, task: name, metric: "memory, measured", unit: "bytes", value: measured, count: 1, standardError: null }
    ]),
    ...found.loading.flatMap(({ atMost, milliseconds, name, peakBytes, shape }): ReadonlyArray<Report.Value> => [
      { model: "host", task: `${name}, ${shape}`, metric: "milliseconds", unit: "milliseconds", value: milliseconds, count: 1, standardError: null },
      { model: "host", task: `${name}, ${shape}`, metric: "peak memory", unit: "bytes", value: peakBytes, count: 1, standardError: null },
      ...atMost === null ? [] : [{ model: "host", task: `${name}, ${shape}`, metric: "peak memory, at most", unit: "bytes", value: atMost, count: 1, standardError: null } satisfies Report.Value]
    ])
  ],
  notes: [...found.rows.filter(({ ratio }) => ratio !== null).map((row) => `${row.name} on ${row.device}, ${row.shape}: ${row.ratio!.toFixed(2)} × ${row.against}${row.atMost === null ? "" : `; at most ${row.atMost.toFixed(2)} is expected`}.`), ...found.skipped.map((line) => `Left out: ${line}.`)]
})

const marks = ["<!-- figures of eval:bench -->", "<!-- end of figures -->"] as const
/** The text with its figures replaced. Fails: `TargetError` when it has no place for them. */
export const replaceFigures = (text: string, figures: string): Effect.Effect<string, TargetError> => {
  const from = text.indexOf(marks[0]), to = text.indexOf(marks[1])
  return from < 0 || to < from ? Effect.fail(new TargetError({ target: "eval:bench", problem: `docs/benchmarks.md has no place for figures (${marks.join(" … ")})`, remedy: "Put the two marks where the figures belong" }))
    : Effect.succeed(`${text.slice(0, from + marks[0].length)}\n\n${figures}\n\n${text.slice(to)}`)
}
const document = fileURLToPath(new URL("../../../../docs/benchmarks.md", import.meta.url))

/** The devices to be timed: the one asked for, or all that open. */
const open = (name: "auto" | "gpu" | "host" | "software") => Effect.gen(function*() {
  const service = (which: string) => Effect.map(Layer.build(Device.byName(which)), (context) => Context.get(context, Device.Device))
  if (name !== "auto") return { devices: [yield* service(name)], missing: [] }
  const devices: Array<Device.Service> = [], missing: Array<string> = []
  for (const which of ["host", "gpu", "software"]) {
    yield* Effect.match(service(which), { onFailure: ({ problem }) => { missing.push(`${which}: ${problem}`); say(`left out: ${which}: ${problem}`) }, onSuccess: (found) => { devices.push(found) } })
  }
  return { devices, missing }
})

const { store: _, ...flags } = common("bench", `runs of each timing; below ${enough} also small shapes, for a look`)
export const command = Command.make("eval:bench", {
  ...flags, write: Flag.Boolean("write").pipe(Flag.withDefault(false), Flag.withDescription("put the figures into docs/benchmarks.md (in a checkout of the repository)"))
}, ({ device, limit, out, seed, write }) => Effect.scoped(Effect.gen(function*() {
  const { devices, missing } = yield* open(device), runs = Option.getOrElse(limit, () => 7), folder = place(out)
  if (write && runs < enough) return yield* new TargetError({ target: "eval:bench", problem: `${runs} runs make no figures`, remedy: `Leave --limit out, or give at least ${enough}` })
  const timed = yield* bench(devices, { runs, seed, peers: true }), found = { ...timed, skipped: [...missing, ...timed.skipped] }
  yield* Table.write(toTable([...found.rows, ...found.loading.map(Loading.toRow)]), join(folder, "bench.arrow"))
  yield* Report.write(report(found, seed), folder)
  yield* Console.log(`${aligned([headings, ...found.rows.map(cells)])}\n\n${aligned([memoryHeadings, ...found.memory.map(memoryCells)])}\n\n${aligned([Loading.headings, ...found.loading.map(Loading.cells)])}\n\n${circumstances(runs)}`)
  if (write) yield* File.write(document, yield* replaceFigures(yield* File.read(document), markdown(found)))
  yield* Console.log(`written: ${join(folder, "report.md")}, report.html, report.json, results.arrow, bench.arrow${write ? ", docs/benchmarks.md" : ""}`)
}))).pipe(Command.withDescription("times of products, layers, training steps and generation on every device present, against floors and other libraries; loading and converting a model, with the memory it takes"))

await start(command, import.meta)
