/** A worker thread of the host device: one replica for each arena, answering the messages of workers.ts one after the other. */
import { parentPort, workerData } from "node:worker_threads"
import { GivenUp, giveUp, joinOverReplicas, sumOverReplicas } from "./exchange.ts"
import { makeReplica, OutOfMemory, type Replica, type Steps } from "./Replica.ts"
import type { Message, Reply, Request } from "./workers.ts"

const { count, index, stop } = workerData as { readonly index: number; readonly count: number; readonly stop: SharedArrayBuffer }
const flag = new Int32Array(stop)
interface Opened { readonly replica: Replica; readonly programs: Map<number, { readonly steps: Steps; readonly exchange: SharedArrayBuffer }>; exchange: SharedArrayBuffer | undefined }
const arenas = new Map<number, Opened>()

const open = (options: { readonly onnxRuntime?: boolean; readonly profile?: boolean }): Opened => {
  const opened: Opened = {
    programs: new Map(), exchange: undefined,
    replica: makeReplica({ ...options, stopped: () => Atomics.load(flag, 0) !== 0, sumReplicas: (tensors, add) => sumOverReplicas(opened.exchange!, index, count, tensors, add), joinReplicas: (joined) => joinOverReplicas(opened.exchange!, index, count, joined) })
  }
  return opened
}

const answer = (message: Message): unknown => {
  if (message.do === "greet") return undefined
  if (message.do === "exit") process.exit(0)
  if (message.do === "open") { arenas.set(message.arena, open(message.options)); return undefined }
  const opened = arenas.get(message.arena)!
  const { programs, replica } = opened
  switch (message.do) {
    case "upload": return replica.upload(message.slot, message.data)
    case "program": programs.set(message.program.id, { steps: message.program, exchange: message.exchange }); return undefined
    case "submit": {
      const { exchange, steps } = programs.get(message.program)!
      opened.exchange = exchange
      try { return replica.submit(steps) } catch (error) { giveUp(exchange); throw error }
    }
    case "forget": programs.delete(message.program); return undefined
    case "read": return replica.read(message.slot)
    case "free": return replica.free(message.slots)
    case "stats": return replica.stats()
    case "close": replica.close(); arenas.delete(message.arena); return undefined
  }
}

parentPort!.on("message", ({ id, message }: Request) => {
  try {
    const value = answer(message)
    const reply: Reply = { id, value }
    parentPort!.postMessage(reply, ArrayBuffer.isView(value) ? [value.buffer as ArrayBuffer] : [])
  } catch (cause) {
    const error = cause instanceof Error ? cause : new Error(String(cause))
    const reply: Reply = { id, error: { message: error.message, ...cause instanceof OutOfMemory ? { bytes: cause.bytes } : {}, follows: cause instanceof GivenUp } }
    parentPort!.postMessage(reply)
  }
})
