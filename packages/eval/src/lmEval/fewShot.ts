/**
 * Which worked examples stand before a question, drawn as lm-evaluation-harness draws them: one generator for a task's whole run, so that the
 * order of documents matters, Python's `sample`, and one example more where the question itself might be among them.
 */
import { isDeepStrictEqual } from "node:util"
import { type MersenneTwister, mersenneTwister } from "./mersenneTwister.ts"

/** The harness's default seed of examples. */
export const defaultSeed = 1234

/** `firstN`: the pool's first, always. `random`: drawn. `spare`: draw one more and leave the question out. */
export type Sampler = { readonly by: "firstN" } | { readonly by: "random"; readonly spare: boolean }

/** Gives each question its examples; to be called once for each document, in order. Dies where the pool has too few. */
export const fewShot = <A>(pool: ReadonlyArray<A>, sampler: Sampler, options: { readonly count: number; readonly seed?: number }): (question: A) => ReadonlyArray<A> => {
  const { count, seed = defaultSeed } = options
  if (count > 0 && pool.length < count + (sampler.by === "random" && sampler.spare ? 1 : 0)) throw new Error(`fewShot: ${count} examples of ${pool.length} documents`)
  const twister: MersenneTwister = mersenneTwister(seed)
  return (question) => {
    if (count === 0) return []
    if (sampler.by === "firstN") return pool.slice(0, count)
    if (!sampler.spare) return twister.sample(pool, count)
    const others = twister.sample(pool, count + 1).filter((example) => !isDeepStrictEqual(example, question)).slice(0, count)
    return others.length === count ? others : twister.sample(pool.filter((example) => !isDeepStrictEqual(example, question)), count)
  }
}
