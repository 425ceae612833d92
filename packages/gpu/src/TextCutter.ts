/**
 * Text of tokens as they come: never a part of a character, never a part of a stop string. What might still become one is held back until
 * the next token decides.
 */
import type { Tokenizer } from "@switchyard/core"

/** `push` gives the text that a token settles, and whether a stop string ended it; `flush` what was held back, when no more tokens come. */
export interface TextCutter {
  readonly push: (id: number) => { readonly text: string; readonly stopped: boolean }
  readonly flush: () => string
}

/** Length of the longest end of the text that begins one of the stop strings. */
const heldLength = (text: string, stops: ReadonlyArray<string>): number => {
  for (let length = Math.min(text.length, Math.max(0, ...stops.map((stop) => stop.length - 1))); length > 0; length--) {
    const end = text.slice(-length)
    if (stops.some((stop) => stop.startsWith(end))) return length
  }
  return 0
}
const incomplete = "\ufffd", context = 8
/** How much of it stands at the beginning of the other. */
const sharedLength = (a: string, b: string): number => {
  let at = 0
  while (at < a.length && a[at] === b[at]) at++
  return at
}

/** For the text after `prompt`; the first stop string found ends it, and is not given out. */
export const make = (tokenizer: Pick<Tokenizer.Tokenizer, "decode">, prompt: ReadonlyArray<number>, stopStrings: ReadonlyArray<string> = []): TextCutter => {
  const stops = stopStrings.filter((stop) => stop !== "")
  // tokens are decoded with some before them, since a decoder may treat the beginning of a text in its own way
  let from: ReadonlyArray<number> = prompt.slice(-context), read = tokenizer.decode(from), waiting: Array<number> = [], held = ""
  /** Where the text behind `read` begins. A prompt may end inside a character: then with that character, once it is whole. */
  const begun = (text: string): number => read.endsWith(incomplete) ? sharedLength(read, text) : read.length
  const settle = (fresh: string, end: boolean): { readonly text: string; readonly stopped: boolean } => {
    const all = held + fresh, ends = stops.map((stop) => all.indexOf(stop)).filter((at) => at >= 0)
    if (ends.length > 0) { held = ""; return { text: all.slice(0, Math.min(...ends)), stopped: true } }
    const length = end ? 0 : heldLength(all, stops)
    held = all.slice(all.length - length)
    return { text: all.slice(0, all.length - length), stopped: false }
  }
  return {
    push: (id) => {
      waiting.push(id)
      const text = tokenizer.decode([...from, ...waiting])
      if (text.endsWith(incomplete) || text.length < begun(text)) return { text: "", stopped: false }
      const fresh = text.slice(begun(text))
      from = waiting.length >= context ? waiting.slice(-context) : [...from, ...waiting].slice(-context)
      read = tokenizer.decode(from)
      waiting = []
      return settle(fresh, false)
    },
    flush: () => {
      const text = waiting.length === 0 ? read : tokenizer.decode([...from, ...waiting]), fresh = text.slice(begun(text))
      waiting = []
      return settle(fresh, true).text
    }
  }
}
