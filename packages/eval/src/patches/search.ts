/**
 * How many samples a method needs: twice as many each time, until the target is reached twice running or there are no more; then the place between the
 * last miss and the first hit, on a straight line over the logarithm of the number.
 */
import { Effect } from "effect"

export interface Point<A> { readonly samples: number; readonly accuracy: number; readonly measured: A }

/** Measures from, 2 · from, 4 · from … at most `most` samples. Fails: as `measure`. */
export const climb = <A, E, R>(measure: (samples: number) => Effect.Effect<{ readonly accuracy: number; readonly measured: A }, E, R>, options: { readonly from: number; readonly most: number; readonly target: number }): Effect.Effect<ReadonlyArray<Point<A>>, E, R> => Effect.gen(function*() {
  const found: Array<Point<A>> = []
  for (let samples = options.from, reached = 0; samples <= options.most && reached < 2; samples *= 2) {
    const point = yield* measure(samples)
    found.push({ samples, ...point })
    reached = point.accuracy >= options.target ? reached + 1 : 0
  }
  return found
})

/** What it takes to stay at the target or above. `at`: "between" two measured numbers, "most": the first measured number was enough already, "beyond": the last was not. */
export interface Needed { readonly samples: number; readonly at: "between" | "most" | "beyond" }
export const needed = (curve: ReadonlyArray<{ readonly samples: number; readonly accuracy: number }>, target: number): Needed => {
  const last = curve.at(-1)!, missed = curve.findLastIndex(({ accuracy }) => accuracy < target), miss = curve[missed], hit = curve[missed + 1]
  if (miss === undefined) return { samples: curve[0]!.samples, at: "most" }
  if (hit === undefined) return { samples: last.samples, at: "beyond" }
  return { samples: miss.samples * (hit.samples / miss.samples) ** ((target - miss.accuracy) / (hit.accuracy - miss.accuracy)), at: "between" }
}
/** `≤ 10`, `94`, `> 1280`. */
export const written = ({ at, samples }: Needed): string => `${{ between: "", most: "≤ ", beyond: "> " }[at]}${samples.toFixed(0)}`
