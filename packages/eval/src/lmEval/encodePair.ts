/**
 * How lm-evaluation-harness cuts a context and its continuation into tokens, and which special tokens it adds.
 *
 * White space at the context's end belongs to the continuation. Both are encoded together, the context also alone, and the continuation's
 * tokens are those beyond the context's number: where a merge crosses the border the pair is not what the whole is, and we do the same.
 */
import type { Tokenizer } from "@switchyard/core"
import * as PythonText from "./PythonText.ts"

/** Special tokens around every text: as the tokenizer's own files say (the harness since 0.4.9.2), never (before), or the prefix always. */
export type BosPolicy = "tokenizer" | "never" | "always"

export interface Pair { readonly context: ReadonlyArray<number>; readonly continuation: ReadonlyArray<number> }
export interface Encoder {
  readonly encode: (text: string) => ReadonlyArray<number>
  /** Without special tokens, whatever the policy. */
  readonly encodePlain: (text: string) => ReadonlyArray<number>
  readonly prefix: number
  readonly bosPolicy: BosPolicy
}

type Json = { readonly [key: string]: unknown }
const json = (bytes: Uint8Array | undefined): Json => {
  if (bytes === undefined) return {}
  const parsed: unknown = JSON.parse(new TextDecoder().decode(bytes))
  return typeof parsed === "object" && parsed !== null ? parsed as Json : {}
}

/** The special tokens that tokenizer.json puts before and after a single text: a template, alone or in a sequence. */
const template = (processor: unknown): { readonly before: ReadonlyArray<number>; readonly after: ReadonlyArray<number> } => {
  const none = { before: [], after: [] }
  if (typeof processor !== "object" || processor === null) return none
  const { processors, single, special_tokens: special, type } = processor as { type?: unknown; processors?: unknown; single?: unknown; special_tokens?: unknown }
  if (type === "Sequence" && Array.isArray(processors)) return processors.map(template).find(({ after, before }) => after.length + before.length > 0) ?? none
  if (type !== "TemplateProcessing" || !Array.isArray(single)) return none
  const ids = (pieces: ReadonlyArray<Json>) => pieces.flatMap((piece) => {
    const name = (piece["SpecialToken"] as { readonly id?: string } | undefined)?.id
    return name === undefined ? [] : ((special as Record<string, { readonly ids?: ReadonlyArray<number> }> | undefined)?.[name]?.ids ?? [])
  })
  const text = single.findIndex((piece: Json) => "Sequence" in piece)
  return { before: ids(single.slice(0, Math.max(0, text))), after: ids(single.slice(text + 1)) }
}

/** The encoder of a tokenizer under a policy. Options: `prefix`, else the tokenizer's bos, else its eos. Dies where there is none of the three. */
export const encoder = (tokenizer: Tokenizer.Tokenizer, bosPolicy: BosPolicy, options: { readonly prefix?: number } = {}): Encoder => {
  const prefix = options.prefix ?? tokenizer.bos ?? tokenizer.eos
  if (prefix === undefined) throw new Error("encoder: the tokenizer names neither a bos nor an eos token: give a prefix token")
  const text = tokenizer.decode([prefix])
  const around = bosPolicy === "never" ? { before: [], after: [] } : bosPolicy === "always" ? { before: [prefix], after: [] } : template(json(tokenizer.files["tokenizer.json"])["post_processor"])
  const encodePlain = (source: string) => Array.from(tokenizer.encode(source))
  return {
    prefix, bosPolicy, encodePlain,
    // a text that begins with the prefix as letters gets no special tokens
    encode: (source) => source.startsWith(text) ? encodePlain(source) : [...around.before, ...encodePlain(source), ...around.after]
  }
}

/** The tokens of a context and of its continuation. An empty context is the prefix token, or the continuation's own first token where that is it. */
export const encodePair = ({ encode, encodePlain, prefix }: Encoder, context: string, continuation: string): Pair => {
  if (context === "") {
    const tokens = encodePlain(continuation)
    return tokens[0] === prefix ? { context: tokens.slice(0, 1), continuation: tokens.slice(1) } : { context: [prefix], continuation: tokens }
  }
  const bare = PythonText.stripRight(context)
  const whole = encode(context + continuation), before = encode(bare)
  return { context: before, continuation: whole.slice(before.length) }
}
