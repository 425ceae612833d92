/**
 * Tasks as data: what is measured, on which split, with how much text. Texts come as corpora, one per domain.
 */
import { Schema } from "effect"

const count = Schema.Int.check(Schema.isGreaterThan(0))

/**
 * Rolling log-likelihood of held-out documents: every token scored once, with as much left context as fits into `tokens`.
 * Units: `documentBytes` and `maximumBytes` (per domain) count UTF-8 bytes of text, so that different tokenizers see the same.
 */
export const Task = Schema.Struct({
  name: Schema.String,
  split: Schema.Literals(["train", "choose", "report"]),
  tokens: count,
  documentBytes: Schema.optionalKey(count),
  maximumBytes: Schema.optionalKey(count)
})
export type Task = typeof Task.Type

/** Bits per byte and per token of each domain's held-out documents. Options: split "report", tokens 256 (capped at the model's context). */
export const bitsPerByte = (options: { readonly split?: Task["split"]; readonly tokens?: number; readonly documentBytes?: number; readonly maximumBytes?: number } = {}): Task => {
  const { split = "report", tokens = 256, ...limits } = options
  return { name: "bitsPerByte", split, tokens, ...limits }
}
