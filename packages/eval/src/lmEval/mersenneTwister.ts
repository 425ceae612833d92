/**
 * Python's `random.Random`, bit by bit: MT19937 seeded by an integer, `random`, `choices` and `sample`. Standard errors and few-shot
 * examples of lm-evaluation-harness are drawn with it, so equal numbers need equal draws. Paper: Matsumoto & Nishimura 1998.
 */
export interface MersenneTwister {
  /** The next 32 bits. */
  readonly next: () => number
  /** A double in [0, 1) of 53 bits. */
  readonly random: () => number
  /** `count` draws with replacement. */
  readonly choices: <A>(population: ReadonlyArray<A>, count: number) => Array<A>
  /** `count` draws without replacement, in the order drawn. Dies where there are fewer. */
  readonly sample: <A>(population: ReadonlyArray<A>, count: number) => Array<A>
}

const size = 624, shift = 397

/** One state from a plain number. */
const fromNumber = (seed: number): Uint32Array => {
  const state = new Uint32Array(size)
  state[0] = seed
  for (let i = 1; i < size; i++) state[i] = Math.imul(1812433253, state[i - 1]! ^ (state[i - 1]! >>> 30)) + i
  return state
}

/** The state that Python gives an integer seed: its 32-bit words, lowest first, mixed in. */
const fromWords = (words: ReadonlyArray<number>): Uint32Array => {
  const state = fromNumber(19650218)
  let i = 1, j = 0
  const wrap = () => { if (++i >= size) { state[0] = state[size - 1]!; i = 1 } }
  for (let k = Math.max(size, words.length); k > 0; k--) {
    state[i] = (state[i]! ^ Math.imul(state[i - 1]! ^ (state[i - 1]! >>> 30), 1664525)) + words[j]! + j
    j = (j + 1) % words.length
    wrap()
  }
  for (let k = size - 1; k > 0; k--) {
    state[i] = (state[i]! ^ Math.imul(state[i - 1]! ^ (state[i - 1]! >>> 30), 1566083941)) - i
    wrap()
  }
  state[0] = 0x80000000
  return state
}

const refill = (state: Uint32Array): void => {
  for (let i = 0; i < size; i++) {
    const y = (state[i]! & 0x80000000) | (state[(i + 1) % size]! & 0x7fffffff)
    state[i] = state[(i + shift) % size]! ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0)
  }
}

/** `random.Random(seed)`. Dies on a seed that is no safe integer. */
export const mersenneTwister = (seed: number): MersenneTwister => {
  if (!Number.isSafeInteger(seed)) throw new Error(`mersenneTwister: seed must be an integer, got ${seed}`)
  const magnitude = Math.abs(seed), high = Math.floor(magnitude / 2 ** 32)
  const state = fromWords(high === 0 ? [magnitude] : [magnitude >>> 0, high])
  let at = size
  const next = (): number => {
    if (at === size) { refill(state); at = 0 }
    let y = state[at++]!
    y ^= y >>> 11
    y ^= (y << 7) & 0x9d2c5680
    y ^= (y << 15) & 0xefc60000
    return (y ^ (y >>> 18)) >>> 0
  }
  const random = () => {
    const high = next() >>> 5, low = next() >>> 6
    return (high * 67108864 + low) / 9007199254740992
  }
  /** Below `bound`, without bias: as many bits as it has, drawn again until they fit. */
  const below = (bound: number): number => {
    const unused = Math.clz32(bound)
    for (;;) {
      const drawn = next() >>> unused
      if (drawn < bound) return drawn
    }
  }
  return {
    next, random,
    choices: (population, count) => Array.from({ length: count }, () => population[Math.floor(random() * population.length)]!),
    sample: (population, count) => {
      const length = population.length
      if (!(count >= 0 && count <= length)) throw new Error(`mersenneTwister.sample: ${count} of ${length}`)
      // Python keeps a pool where that is smaller than a set of those drawn; the two draw differently
      const setSize = 21 + (count > 5 ? 4 ** Math.ceil(Math.log(count * 3) / Math.log(4)) : 0)
      if (length <= setSize) {
        const pool = [...population]
        return Array.from({ length: count }, (_, drawn) => {
          const place = below(length - drawn), found = pool[place]!
          pool[place] = pool[length - drawn - 1]!
          return found
        })
      }
      const taken = new Set<number>()
      while (taken.size < count) taken.add(below(length))
      return [...taken].map((place) => population[place]!)
    }
  }
}
