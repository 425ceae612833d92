/**
 * `Pipeline.main`: makes a pipeline file a program with the commands plan, run, graph and verify. Importing the file runs nothing.
 */
import type { Effect, Layer } from "effect"
import type { Flag } from "effect/cli"
import { realpathSync } from "node:fs"
import { fileURLToPath } from "node:url"
import type { Outputs } from "./Graph.ts"
import type { Needs, Pipeline, Values } from "./Pipeline.ts"
import type { Planned } from "./Plan.ts"
import type { Store } from "./Store.ts"

/** The flags that every pipeline has. */
export interface Flags {
  /** where results are remembered; `.switchyard` */
  readonly store: string
  /** where exported files go; `runs/<name>` */
  readonly out: string
  readonly seed: number
  /** which device the script's layer shall open; core itself knows none */
  readonly device: "auto" | "gpu" | "host" | "software"
  readonly fresh: boolean
  readonly concurrency: number
  readonly keepGoing: boolean
  readonly json: boolean
}
export type Specs = Readonly<Record<string, Flag.Flag<any>>>
type Parsed<F> = { readonly [K in keyof F]: F[K] extends Flag.Flag<infer A> ? A : never }

export interface Outcome<F> {
  /** The folder to export to; made on demand by who writes there. */
  readonly out: string
  /** The plan after the run, actual figures included. */
  readonly rows: ReadonlyArray<Planned>
  readonly flags: F
}
export interface Options<O extends Outputs, F extends Specs, E, R> {
  /** Shown by --help; the name of the runs' folder where the pipeline itself depends on flags. */
  readonly name?: string
  readonly version?: string
  readonly description?: string
  /** The script's own flags, of effect/cli. */
  readonly flags?: F
  /** Once everything is there, computed now or kept: writes what people want to see into `out`. */
  readonly after?: (values: Values<O>, outcome: Outcome<Flags & Parsed<F>>) => Effect.Effect<unknown, E, R>
}

/** What the layer must give. While the compiler does not know the pipeline yet, since it is a function of flags not yet known, nothing. */
type Demanded<O> = Outputs extends O ? never : Exclude<Needs<O>, Store>

const isProgram = (meta: { readonly url: string }): boolean => {
  const started = process.argv[1]
  if (started === undefined) return false
  try { return realpathSync(started) === realpathSync(fileURLToPath(meta.url)) } catch { return false }
}

/**
 * Runs the command line where the module is the program. The layer must give all that the pipeline needs, save the store: a
 * missing service is a compile error here. Pipeline and layer may be functions of the flags.
 *
 * Exit codes: 0; 1 after a failure, with its message; 130 after Ctrl-C, when finished work is kept and the unfinished stage goes on next time.
 */
export const main = <O extends Outputs, LE = never, const F extends Specs = {}, E = never, R extends Needs<O> | Store = never>(
  pipeline: Pipeline<O> | ((flags: Flags & Parsed<F>) => Pipeline<O>),
  layer: Layer.Layer<Demanded<O>, LE, Store> | ((flags: Flags & Parsed<F>) => Layer.Layer<Demanded<O>, LE, Store>),
  meta: { readonly url: string },
  options: Options<O, F, E, R> = {}
): void => {
  if (!isProgram(meta)) return
  const erased: { readonly pipeline: unknown; readonly layer: unknown; readonly options: unknown } = { pipeline, layer, options }
  void import("./command.ts").then(({ start }) => start(erased as never, meta))
}
