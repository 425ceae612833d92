/**
 * Events for people: progress bars in a terminal, one plain line per event elsewhere.
 */
import { MultiBar, type SingleBar } from "cli-progress"
import { type Event, line } from "./Event.ts"

export interface Printer { readonly listen: (event: Event) => void; readonly close: () => void }

const plain = (stream: NodeJS.WritableStream): Printer => ({ listen: (event) => { stream.write(`${line(event)}\n`) }, close: () => {} })

const bars = (stream: NodeJS.WriteStream): Printer => {
  const multi = new MultiBar({
    stream, hideCursor: true, clearOnComplete: true, gracefulExit: false, fps: 8, linewrap: false, barsize: 24,
    format: "{stage} {bar} {value} of {total} {unit} · {duration_formatted}, about {eta_formatted} left {metrics}"
  })
  const open = new Map<string, { readonly bar: SingleBar; readonly metrics: Map<string, string> }>()
  const say = (event: Event): void => { if (open.size > 0) multi.log(`${line(event)}\n`); else stream.write(`${line(event)}\n`) }
  const shown = (metrics: ReadonlyMap<string, string>): string => [...metrics].map(([name, value]) => `${name} ${value}`).join(" ")
  return {
    listen: (event) => {
      const known = open.get(event.key)
      switch (event._tag) {
        case "Progress": {
          const entry = known ?? { bar: multi.create(event.total, 0, { stage: event.stage, unit: event.unit, metrics: "" }), metrics: new Map<string, string>() }
          open.set(event.key, entry)
          entry.bar.setTotal(event.total)
          entry.bar.update(event.done, { unit: event.unit, metrics: shown(entry.metrics) })
          return
        }
        case "Metric": { known?.metrics.set(event.name, event.value.toPrecision(4)); return }
        default: {
          say(event)
          if (known !== undefined && event._tag !== "Retried") { multi.update(); multi.remove(known.bar); open.delete(event.key) }
        }
      }
    },
    close: () => multi.stop()
  }
}

/** Bars where `stream` is a terminal, lines where it is not. `close` gives the cursor back. */
export const printer = (stream: NodeJS.WriteStream = process.stderr): Printer => stream.isTTY ? bars(stream) : plain(stream)
