/**
 * A run is a stream of events. The terminal's bars, the log and whoever else listens read this one stream.
 */
import { Context, Effect, Fiber, PubSub } from "effect"

interface At { readonly stage: string; readonly key: string }
export type Event =
  | At & { readonly _tag: "Started" }
  | At & { readonly _tag: "Cached" }
  | At & { readonly _tag: "Progress"; readonly done: number; readonly total: number; readonly unit: string }
  | At & { readonly _tag: "Metric"; readonly name: string; readonly value: number }
  /** The device was lost; the stage begins again, from its saved state. */
  | At & { readonly _tag: "Retried"; readonly problem: string }
  | At & { readonly _tag: "Finished"; readonly seconds: number }
  | At & { readonly _tag: "Failed"; readonly interrupted: boolean; readonly problem: string }
  /** With keepGoing: not run because an input failed. */
  | At & { readonly _tag: "Skipped"; readonly because: string }

/** Where a run publishes; undefined: nobody listens. */
export const Events = Context.Reference<PubSub.PubSub<Event | typeof over> | undefined>("@switchyard/core/Events", { defaultValue: () => undefined })

/** Follows the last event. */
export const over = Symbol.for("@switchyard/core/Event/over")

export const emit = (event: Event): Effect.Effect<void> => Effect.flatMap(Events, (bus) => bus === undefined ? Effect.void : Effect.asVoid(PubSub.publish(bus, event)))

/** Runs `effect` while `listen` sees its events, all of them: the last is handled before this returns, fails or is interrupted. */
export const listening = <A, E, R>(effect: Effect.Effect<A, E, R>, listen: (event: Event) => void): Effect.Effect<A, E, R> => Effect.scoped(Effect.gen(function*() {
  const outer = yield* Events
  const bus = yield* PubSub.unbounded<Event | typeof over>()
  const subscription = yield* PubSub.subscribe(bus)
  const drain: Effect.Effect<void> = Effect.flatMap(PubSub.take(subscription), (event) => {
    if (event === over) return Effect.void
    listen(event as Event)
    return Effect.andThen(outer === undefined ? Effect.void : PubSub.publish(outer, event), Effect.suspend(() => drain))
  })
  const reader = yield* Effect.forkChild(Effect.uninterruptible(drain))
  return yield* effect.pipe(Effect.provideService(Events, bus), Effect.ensuring(Effect.andThen(PubSub.publish(bus, over), Fiber.join(reader))))
})) as Effect.Effect<A, E, R>

const number = (value: number): string => Number.isInteger(value) ? value.toLocaleString("en") : value.toPrecision(5)

/** An event as one plain line. */
export const line = (event: Event): string => {
  const at = `${event.stage} ${event.key.slice(0, 8)}`
  switch (event._tag) {
    case "Started": return `${at} started`
    case "Cached": return `${at} kept from an earlier run`
    case "Progress": return `${at} ${number(event.done)} of ${number(event.total)} ${event.unit}`
    case "Metric": return `${at} ${event.name} ${number(event.value)}`
    case "Retried": return `${at} begins again: ${event.problem}`
    case "Finished": return `${at} finished in ${event.seconds.toFixed(1)} s`
    case "Failed": return event.interrupted ? `${at} stopped` : `${at} failed: ${event.problem}`
    case "Skipped": return `${at} skipped: ${event.because}`
  }
}
