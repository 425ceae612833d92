/**
 * The windows in which a long text is scored, each token exactly once, each with as much left context as fits.
 *
 * The same windows as lm-evaluation-harness makes for perplexity: the first is fed the prefix token and scores the first `tokens`
 * tokens; a later one scores the next `tokens`, and the last is filled up on its left with tokens already scored.
 */

/** One window: feed `context` then all of `target` but its last, and score `target`. Positions are token indices of the text; −1 is the prefix token. */
export interface RollingWindow {
  readonly contextFrom: number
  readonly targetFrom: number
  readonly targetTo: number
}

/** The windows of a text of `length` tokens when a model sees at most `tokens` at once. None for an empty text. */
export const rollingWindows = (length: number, tokens: number): ReadonlyArray<RollingWindow> => {
  if (!Number.isInteger(tokens) || tokens < 1) throw new Error(`rollingWindows: tokens must be a positive integer, got ${tokens}`)
  const windows: Array<RollingWindow> = []
  for (let from = 0; from < length; from += tokens) {
    const to = Math.min(from + tokens, length)
    windows.push({ contextFrom: from === 0 ? -1 : to - tokens - 1, targetFrom: from, targetTo: to })
  }
  return windows
}
