/** Scratch slots share slabs: a slot takes the best-fitting slab that is free from its first step to its last. */
import type { Step } from "./Recording.ts"
import type { Slot } from "./Tensor.ts"

export interface Placement {
  /** Elements (four bytes each) of every slab. */
  readonly slabs: ReadonlyArray<number>
  /** Scratch slot → index of its slab. */
  readonly slabOf: ReadonlyMap<number, number>
}

/** Greedy best fit over lifetimes. A slab grows when only smaller ones are free: fewer bytes than a new one. */
export const place = (steps: ReadonlyArray<Step>, slots: ReadonlyMap<number, Slot>): Placement => {
  const last = new Map<number, number>()
  steps.forEach((step, at) => { for (const id of step.slots) last.set(id, at) })
  const slabs: Array<number> = [], free = new Set<number>(), slabOf = new Map<number, number>()
  steps.forEach((step, at) => {
    for (const id of step.slots) {
      const slot = slots.get(id)!
      if (slot.kept || slabOf.has(id)) continue
      let best: number | undefined
      for (const slab of free) {
        if (best === undefined) { best = slab; continue }
        const fits = slabs[slab]! >= slot.length, bestFits = slabs[best]! >= slot.length
        if (fits ? !bestFits || slabs[slab]! < slabs[best]! : !bestFits && slabs[slab]! > slabs[best]!) best = slab
      }
      if (best === undefined) best = slabs.push(slot.length) - 1
      else slabs[best] = Math.max(slabs[best]!, slot.length)
      free.delete(best)
      slabOf.set(id, best)
    }
    for (const id of new Set(step.slots)) if (last.get(id) === at && slabOf.has(id)) free.add(slabOf.get(id)!)
  })
  return { slabs, slabOf }
}
