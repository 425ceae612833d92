/**
 * The all-reduce of worker replicas through shared memory: every replica lays its numbers down, waits for the others, and adds all of them
 * up in replica order. The same additions in the same order everywhere: the same bits.
 */

/** Control words before the numbers: how many have arrived, the barrier's round, whether to give up. */
const words = 4, arrived = 0, round = 1, stopped = 2

/** Bytes of the shared buffer for sums of up to `length` numbers. */
export const exchangeBytes = (replicas: number, length: number): number => words * 4 + replicas * length * 4

/** Another replica failed, so that its numbers will not come. */
export class GivenUp extends Error {}

/** Wakes those who wait for a replica that will not come. */
export const giveUp = (shared: SharedArrayBuffer): void => {
  const control = new Int32Array(shared, 0, words)
  Atomics.store(control, stopped, 1)
  Atomics.add(control, round, 1)
  Atomics.notify(control, round)
}

const barrier = (control: Int32Array, replicas: number): void => {
  const current = Atomics.load(control, round)
  if (Atomics.add(control, arrived, 1) === replicas - 1) {
    Atomics.store(control, arrived, 0)
    Atomics.add(control, round, 1)
    Atomics.notify(control, round)
  } else while (Atomics.load(control, round) === current) Atomics.wait(control, round, current)
  if (Atomics.load(control, stopped) !== 0) throw new GivenUp("another replica failed")
}

/** Sums in place over all replicas; every replica calls it at the same step. `add(out, part)` adds element-wise. */
export const sumOverReplicas = (shared: SharedArrayBuffer, index: number, replicas: number, tensors: ReadonlyArray<Float32Array>, add: (out: Float32Array, part: Float32Array) => void): void => {
  const control = new Int32Array(shared, 0, words)
  const length = tensors.reduce((sum, tensor) => sum + tensor.length, 0)
  const rows = Array.from({ length: replicas }, (_, replica) => new Float32Array(shared, words * 4 + replica * length * 4, length))
  let at = 0
  for (const tensor of tensors) { rows[index]!.set(tensor, at); at += tensor.length }
  barrier(control, replicas)
  at = 0
  for (const tensor of tensors) {
    tensor.set(rows[0]!.subarray(at, at + tensor.length))
    for (let replica = 1; replica < replicas; replica++) add(tensor, rows[replica]!.subarray(at, at + tensor.length))
    at += tensor.length
  }
  barrier(control, replicas) // nobody lays down the next sum before everybody has read this one
}
