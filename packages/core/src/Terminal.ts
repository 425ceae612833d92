/**
 * Events for people: progress bars in a terminal, one plain line per event elsewhere.
 */
import { MultiBar, type SingleBar } from "cli-progress"
import { type Event, line } from "./Event.ts"

export interface Printer { readonly listen: (event: Event) => void; readonly close: () => void }

const plain = (stream: NodeJS.WritableStream): Printer => ({ listen: (event) => { stream.write(`${line(event)}\n`) }, close: () => {} })

const bars = (stream: NodeJS.WriteStream): Printer => {
  // a fresh group of bars each time the last one has gone: what is written between them stays where it was written
  let multi: MultiBar | undefined
  const open = new Map<string, { readonly bar: SingleBar; readonly metrics: Map<string, string> }>()
  const group = (): MultiBar => multi ??= new MultiBar({
    stream, hideCursor: true, clearOnComplete: true, gracefulExit: false, fps: 8, linewrap: false, barsize: 24,
    format: "{stage} {bar} {value} of {total} {unit} · {duration_formatted}, about {eta_formatted} left {metrics}"
  })
  const close = (): void => { multi?.stop(); multi = undefined; open.clear() }
  return {
    listen: (event) => {
      const known = open.get(event.key)
      if (event._tag === "Progress") {
        const entry = known ?? { bar: group().create(event.total, 0, { stage: event.stage, unit: event.unit, metrics: "" }), metrics: new Map<string, string>() }
        open.set(event.key, entry)
        entry.bar.setTotal(event.total)
        entry.bar.update(event.done, { unit: event.unit, metrics: [...entry.metrics].map(([name, value]) => `${name} ${value}`).join(" ") })
      } else if (event._tag === "Metric") {
        known?.metrics.set(event.name, event.value.toPrecision(4))
      } else {
        if (known !== undefined && event._tag !== "Retried") { group().remove(known.bar); open.delete(event.key) }
        if (open.size > 0) group().log(`${line(event)}\n`)
        else { close(); stream.write(`${line(event)}\n`) }
      }
    },
    close
  }
}

/** Bars where `stream` is a terminal, lines where it is not. `close` gives the cursor back. */
export const printer = (stream: NodeJS.WriteStream = process.stderr): Printer => stream.isTTY ? bars(stream) : plain(stream)
