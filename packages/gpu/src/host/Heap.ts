/** Blocks of one linear memory: lowest fit from a free list, else from the top. It keeps books only; whoever owns the memory grows it. */

/** Blocks begin at multiples of this many bytes: two cache lines, and more than any vector load asks for. */
export const alignment = 128

export interface Heap {
  /** Address of a new block. */
  readonly allocate: (bytes: number) => number
  readonly free: (address: number) => void
  /** One past the highest byte in use: what the memory must have. */
  readonly top: () => number
  readonly liveBytes: () => number
}

export const makeHeap = (base: number): Heap => {
  const align = (bytes: number) => Math.ceil(Math.max(bytes, 1) / alignment) * alignment
  const sizes = new Map<number, number>()
  let top = align(base), live = 0
  let holes: Array<{ readonly at: number; readonly bytes: number }> = [] // by address, never touching each other
  return {
    top: () => top,
    liveBytes: () => live,
    allocate: (wanted) => {
      const bytes = align(wanted)
      const found = holes.findIndex((hole) => hole.bytes >= bytes)
      let at = top
      if (found < 0) top += bytes
      else {
        const hole = holes[found]!
        at = hole.at
        holes.splice(found, 1, ...hole.bytes === bytes ? [] : [{ at: at + bytes, bytes: hole.bytes - bytes }])
      }
      sizes.set(at, bytes)
      live += bytes
      return at
    },
    free: (address) => {
      const bytes = sizes.get(address)
      if (bytes === undefined) throw new Error(`heap: no block at ${address}`)
      sizes.delete(address)
      live -= bytes
      const merged: Array<{ at: number; bytes: number }> = []
      for (const hole of [...holes, { at: address, bytes }].sort((a, b) => a.at - b.at)) {
        const before = merged.at(-1)
        if (before !== undefined && before.at + before.bytes === hole.at) before.bytes += hole.bytes
        else merged.push({ ...hole })
      }
      const last = merged.at(-1)
      if (last !== undefined && last.at + last.bytes === top) { top = last.at; merged.pop() }
      holes = merged
    }
  }
}
