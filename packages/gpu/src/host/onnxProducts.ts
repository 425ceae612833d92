/**
 * Matrix products by onnxruntime-node's processor provider, straight through its native binding: `run` there is synchronous, the public
 * one only adds a turn of the event loop. Operands are views of the arena, and a preallocated output is written in place.
 *
 * The binding also copies every output into a new buffer, which costs more than some products do, because its pages are touched for the
 * first time. Sending that buffer to a detached port frees it at once, and the allocator hands the same warm pages to the next call: 1.5×
 * faster at 2,048 × 384 × 128, 2.4× at attention scores. Measured by tools/bench/host.ts.
 */
import { createRequire } from "node:module"
import { MessageChannel, type MessagePort } from "node:worker_threads"
import { onnxModel, type Product } from "./onnxModel.ts"

interface Session { readonly loadModel: (buffer: ArrayBufferLike, offset: number, bytes: number, options: object) => void; readonly run: (feeds: object, fetches: object, options: object) => { readonly y: { readonly data: Float32Array } } }
interface Binding { readonly InferenceSession: new() => Session }
interface OnnxTensor { readonly dims: ReadonlyArray<number> }
interface Library { readonly binding: Binding; readonly initOrt: () => void; readonly Tensor: new(type: "float32", data: Float32Array, dims: ReadonlyArray<number>) => OnnxTensor; readonly version: string }

/** An operand: numbers in the arena, and their axes. */
export interface Operand { readonly data: Float32Array; readonly axes: ReadonlyArray<number> }

export interface OnnxProducts {
  readonly version: string
  /** A call that computes `out` from `a` and `b` each time it is made, for as long as the arena is not moved. */
  readonly prepare: (product: Product, a: Operand, b: Operand, out: Operand) => () => void
}

// The library reports its use to its makers over the network and keeps a number of the machine, unless this stands in the environment before it is
// loaded: nothing here calls anybody. Set as soon as this module is, since a worker's environment is a copy that native code does not see.
process.env["ORT_DISABLE_TELEMETRY"] ??= "1"

const load = (): Library | undefined => {
  const require = createRequire(import.meta.url)
  try {
    const { Tensor, env } = require("onnxruntime-node") as { Tensor: Library["Tensor"]; env: { versions: { node?: string; common?: string } } }
    const { binding, initOrt } = require("onnxruntime-node/dist/binding.js") as Pick<Library, "binding" | "initOrt">
    return { Tensor, binding, initOrt, version: env.versions.node ?? env.versions.common ?? "unknown" }
  } catch {
    return undefined
  }
}
/** One thread, no spinning: many sessions that spin made a training step three times slower. The arena of the library is off: outputs are ours. */
const sessionOptions = { executionProviders: ["cpu"], intraOpNumThreads: 1, interOpNumThreads: 1, executionMode: "sequential", extra: { session: { intra_op: { allow_spinning: "0" }, inter_op: { allow_spinning: "0" } } } }

/** A port that has been transferred elsewhere: what is posted to it is detached and freed on the spot. (A closed port queues until the event loop turns.) */
const detachedPort = (): MessagePort => {
  const { port1: drain } = new MessageChannel(), { port1: elsewhere } = new MessageChannel()
  elsewhere.postMessage(null, [drain])
  return drain
}

let shared: OnnxProducts | undefined | null = null
/** This thread's, made at the first call; undefined where onnxruntime-node is not installed, or not for this platform. */
export const onnxProducts = (): OnnxProducts | undefined => shared === null ? shared = open() : shared

const open = (): OnnxProducts | undefined => {
  const library = load()
  if (library === undefined) return undefined
  library.initOrt()
  const sessions = new Map<string, Session>()
  const drain = detachedPort()
  const sessionOf = (product: Product): Session => {
    const key = JSON.stringify(product)
    let session = sessions.get(key)
    if (session === undefined) {
      const model = onnxModel(product)
      session = new library.binding.InferenceSession()
      session.loadModel(model.buffer, model.byteOffset, model.byteLength, sessionOptions)
      sessions.set(key, session)
    }
    return session
  }
  const nothing = {}
  return {
    version: library.version,
    prepare: (product, a, b, out) => {
      const session = sessionOf(product)
      const tensor = ({ axes, data }: Operand) => new library.Tensor("float32", data, axes)
      const y = tensor(out)
      const feeds = { a: tensor(a), b: tensor(b), ...product.accumulate ? { c: y } : {} }, fetches = { y }
      return () => {
        const copy = session.run(feeds, fetches, nothing).y.data.buffer
        if (copy !== out.data.buffer) drain.postMessage(null, [copy as ArrayBuffer])
      }
    }
  }
}
