/**
 * Fewer meetings of replicas: joins that do not need each other's results become one. Steps that wait for a join are put off while others can go on, so
 * that a layer's query, key and value, and a feed-forward's gate and up, are each exchanged at once. The arithmetic, and so every bit, stays the same.
 */
import type * as Kernel from "./Kernel.ts"
import { kernels } from "./kernels.ts"
import type { Step } from "./Recording.ts"

/** What a join is called, and how a merged one is written: slots part, out, part, out, …; params rows, columns, rows, columns, …. */
export const mergeJoins = (steps: ReadonlyArray<Step>, join: string): ReadonlyArray<Step> => {
  if (!steps.some(({ kernel }) => kernel === join)) return steps
  const writes = ({ kernel, slots }: Step): ReadonlyArray<number> => {
    if (kernel === join) return slots.filter((_, at) => at % 2 === 1)
    const known = kernels.get(kernel)
    if (known === undefined) return slots // another step that crosses replicas: it may write all it touches
    const bindings = Object.values(known.bindings) as ReadonlyArray<Kernel.Binding>
    return slots.filter((_, at) => bindings[at]!.access !== "read")
  }
  const found: Array<Step> = []
  let rest = steps
  while (rest.length > 0) {
    const joins: Array<Step> = [], later: Array<Step> = [], touched = new Set<number>(), written = new Set<number>()
    for (const step of rest) {
      const own = writes(step)
      // it waits for what is put off: reads or writes what that writes, or writes what that reads
      if (step.slots.some((slot) => written.has(slot)) || own.some((slot) => touched.has(slot))) {
        later.push(step)
        for (const slot of step.slots) touched.add(slot)
        for (const slot of own) written.add(slot)
      } else if (step.kernel === join) {
        joins.push(step)
        for (const slot of step.slots) touched.add(slot)
        for (const slot of own) written.add(slot)
      } else found.push(step)
    }
    if (joins.length > 0) found.push({ kernel: join, slots: joins.flatMap(({ slots }) => slots), params: joins.flatMap(({ params }) => params) })
    rest = later
  }
  return found
}
