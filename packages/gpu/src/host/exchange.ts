/**
 * The all-reduce of worker replicas through shared memory: every replica lays its numbers down, waits for the others, and adds all of them
 * up in replica order. The same additions in the same order everywhere: the same bits.
 */

/** Control words before the numbers: how many have arrived, the barrier's round, whether to give up, numbers of the longest join. */
const words = 4, arrived = 0, round = 1, stopped = 2, longestJoin = 3

/** Bytes of the shared buffer for sums of up to `sum` numbers and joins of up to `join` numbers, of each replica. Joins take two places in turn. */
export const exchangeBytes = (replicas: number, sum: number, join = 0): number => words * 4 + replicas * (sum + 2 * join) * 4

/** Another replica failed, so that its numbers will not come. */
export class GivenUp extends Error {}

/** Wakes those who wait for a replica that will not come. */
export const giveUp = (shared: SharedArrayBuffer): void => {
  const control = new Int32Array(shared, 0, words)
  Atomics.store(control, stopped, 1)
  Atomics.add(control, round, 1)
  Atomics.notify(control, round)
}

/** Looks taken at a barrier before a thread sleeps: some ten microseconds. */
const spins = 2000

const barrier = (control: Int32Array, replicas: number): void => {
  const current = Atomics.load(control, round)
  if (Atomics.add(control, arrived, 1) === replicas - 1) {
    Atomics.store(control, arrived, 0)
    Atomics.add(control, round, 1)
    Atomics.notify(control, round)
  } else {
    for (let spin = 0; spin < spins && Atomics.load(control, round) === current; spin++) { /* the others are about as far: most often this is quicker than to sleep and be woken */ }
    while (Atomics.load(control, round) === current) Atomics.wait(control, round, current)
  }
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

/** One of the tensors that are joined at once: part [rows, columns], out [rows, columns · replicas]. */
export interface Joined { readonly part: Float32Array; readonly out: Float32Array; readonly rows: number }

/** How many joins a thread has made through a buffer: they take its two places in turn. */
const joins = new WeakMap<SharedArrayBuffer, number>()

/**
 * Puts the columns of all replicas side by side; every replica calls it at the same step. One barrier does: who lays
 * down the join after the next knows that all have come to the next, hence read this one.
 */
export const joinOverReplicas = (shared: SharedArrayBuffer, index: number, replicas: number, joined: ReadonlyArray<Joined>): void => {
  const made = joins.get(shared) ?? 0, control = new Int32Array(shared, 0, words), place = replicas * Atomics.load(control, longestJoin) * 4
  joins.set(shared, made + 1)
  let at = shared.byteLength - (1 + made % 2) * place
  const wholes = joined.map(({ out }) => { const whole = new Float32Array(shared, at, out.length); at += out.byteLength; return whole })
  for (const [which, { part, rows }] of joined.entries()) {
    const columns = part.length / rows
    for (let row = 0; row < rows; row++) wholes[which]!.set(part.subarray(row * columns, (row + 1) * columns), (row * replicas + index) * columns)
  }
  barrier(control, replicas)
  for (const [which, { out }] of joined.entries()) out.set(wholes[which]!)
}

/** The shared buffer of a program whose sums and joins have at most so many numbers in each replica. */
export const makeExchange = (replicas: number, sum: number, join: number): SharedArrayBuffer => {
  const shared = new SharedArrayBuffer(exchangeBytes(replicas, sum, join))
  Atomics.store(new Int32Array(shared, 0, words), longestJoin, join)
  return shared
}
