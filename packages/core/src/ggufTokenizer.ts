/**
 * The tokenizer of a GGUF file's metadata, as the files that Hugging Face's tools read. Byte-level BPE (`gpt2`) becomes a tokenizer.json with its
 * vocabulary, merges and special tokens, and the way of cutting text that `tokenizer.ggml.pre` names (`ggufCuts.ts`; none is GPT-2's). SentencePiece's BPE (`llama`) has scores
 * instead of merges: every pair of tokens that makes a third becomes a merge, the one with the best score first.
 */
import { Effect } from "effect"
import { aliases, type Cut, cuts } from "./ggufCuts.ts"
import { GgufError, type Header } from "./GgufHeader.ts"
import * as Tokenizer from "./Tokenizer.ts"
import { nearest } from "./Weights.ts"

/** Numbers of `tokenizer.ggml.token_type`: a control token is special, one that a user defined is matched whole but printed. */
const control = 3, userDefined = 4, byte = 6
const elsewhere = "open the model's folder from the Hub, which holds tokenizer.json, or pass `tokenizer` to Checkpoint.open"

/** The parts of a tokenizer.json for byte-level BPE. */
const bytePairs = ({ pre_tokenizer, normalizer, ignore_merges = false }: Cut) => ({
  normalizer: normalizer ?? null, pre_tokenizer, decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true }, model: { unk_token: null, fuse_unk: false, byte_fallback: false, ignore_merges }
})

/** Those for SentencePiece: spaces are ▁, one stands before the text when `prefix`, and what has no token is spelled in bytes. */
const pieces = (tokens: ReadonlyArray<string>, prefix: boolean) => ({
  normalizer: { type: "Sequence", normalizers: [...prefix ? [{ type: "Prepend", prepend: "▁" }] : [], { type: "Replace", pattern: { String: " " }, content: "▁" }] },
  pre_tokenizer: null,
  decoder: { type: "Sequence", decoders: [{ type: "Replace", pattern: { String: "▁" }, content: " " }, { type: "ByteFallback" }, { type: "Fuse" }, ...prefix ? [{ type: "Strip", content: " ", start: 1, stop: 0 }] : []] },
  model: { unk_token: tokens.includes("<unk>") ? "<unk>" : null, fuse_unk: true, byte_fallback: true, ignore_merges: false }
})

/** Every pair of tokens that makes a third, that with the best score first; the order of equal ones as in transformers' conversion. */
const mergesOf = (vocab: ReadonlyMap<string, number>, scores: Float32Array, isPart: (id: number) => boolean): ReadonlyArray<readonly [string, string]> => {
  const found: Array<{ readonly pair: readonly [string, string]; readonly score: number }> = []
  for (const [token, id] of vocab) {
    if (!isPart(id)) continue
    const own: Array<readonly [number, number, readonly [string, string]]> = []
    for (let at = 1; at < token.length; at++) {
      const pair = [token.slice(0, at), token.slice(at)] as const, left = vocab.get(pair[0]), right = vocab.get(pair[1])
      if (left !== undefined && right !== undefined) own.push([left, right, pair])
    }
    for (const [, , pair] of own.sort(([a, b], [c, d]) => a - c || b - d)) found.push({ pair, score: scores[id]! })
  }
  return found.sort((a, b) => b.score - a.score || b.pair[0].length - a.pair[0].length || b.pair[1].length - a.pair[1].length).map(({ pair }) => pair)
}

const text = (json: unknown): Uint8Array => new TextEncoder().encode(`${JSON.stringify(json)}\n`)

/** The files that Hugging Face's tools read, of a file's metadata. Fails: throws GgufError naming the key, also for the kinds that cannot be read yet. */
export const tokenizerFiles = (file: string, { metadata }: Header): Readonly<Record<string, Uint8Array>> => {
  const fail = (key: string, problem: string, remedy: string): never => { throw new GgufError({ file, key: `tokenizer.ggml.${key}`, problem, remedy }) }
  const get = (key: string) => metadata.get(`tokenizer.ggml.${key}`)
  const strings = (key: string): ReadonlyArray<string> => {
    const list = get(key)
    return Array.isArray(list) ? list as ReadonlyArray<string> : fail(key, list === undefined ? "it is missing" : "it is not a list of strings", "convert the model again with its tokenizer")
  }
  const kind = get("model"), pre = get("pre") ?? "gpt-2"
  if (kind !== "gpt2" && kind !== "llama") {
    return fail("model", `a tokenizer of kind ${JSON.stringify(typeof kind === "string" ? kind.slice(0, 60) : "(none)")} cannot be read yet, only BPE of bytes (gpt2) and of SentencePiece (llama) can`, elsewhere)
  }
  const cutOf = (): Cut => {
    const name = String(pre).slice(0, 60), at = Object.hasOwn(aliases, name) ? aliases[name]! : name
    return typeof pre === "string" && Object.hasOwn(cuts, at) ? cuts[at]! : fail("pre", `${JSON.stringify(name)} is not known; the nearest is ${nearest(name, [...Object.keys(cuts), ...Object.keys(aliases)])}`, elsewhere)
  }
  const cut = kind === "gpt2" ? cutOf() : undefined
  const tokens = strings("tokens"), types = get("token_type"), scores = get("scores")
  const vocab = new Map(tokens.map((token, id) => [token, id]))
  if (vocab.size !== tokens.length) fail("tokens", `${tokens.length - vocab.size} tokens stand twice`, "convert the model again")
  if (types !== undefined && (!(types instanceof Int32Array || types instanceof Uint32Array) || types.length !== tokens.length)) return fail("token_type", `it is not a list of ${tokens.length} integers`, "convert the model again")
  if (kind === "llama" && !(scores instanceof Float32Array && scores.length === tokens.length)) return fail("scores", `it is not a list of ${tokens.length} numbers`, "convert the model again")
  const pairs = () => strings("merges").map((merge, i) => {
    const at = merge.indexOf(" ", 1), pair = [merge.slice(0, at), merge.slice(at + 1)]
    return at > 0 && vocab.has(pair.join("")) && pair.every((part) => vocab.has(part)) ? pair : fail("merges", `merge ${i}, ${JSON.stringify(merge.slice(0, 60))}, is not two tokens that make a third`, "convert the model again")
  })
  const added = tokens.flatMap((content, id) => types !== undefined && (types[id] === control || types[id] === userDefined)
    ? [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: types[id] === control }] : [])
  const special = (key: string): Record<string, string> => {
    const id = get(`${key}_token_id`)
    if (id === undefined) return {}
    const token = typeof id === "number" ? tokens[id] : undefined
    return token === undefined ? fail(`${key}_token_id`, `${String(id).slice(0, 60)} is not an id below ${tokens.length}`, "convert the model again") : { [`${key}_token`]: token }
  }
  const template = metadata.get("tokenizer.chat_template"), isPart = (id: number) => types === undefined || (types[id] !== control && types[id] !== byte)
  const { merges, ...rest } = cut !== undefined ? { ...bytePairs(cut), merges: pairs() } : { ...pieces(tokens, get("add_space_prefix") !== false), merges: mergesOf(vocab, scores as Float32Array, isPart) }
  // written entry by entry: an object would put names that look like numbers first
  const entries = [...vocab].map(([token, id]) => `${JSON.stringify(token)}:${id}`).join(",")
  const json = new TextDecoder().decode(text({
    version: "1.0", truncation: null, padding: null, added_tokens: added, normalizer: rest.normalizer, pre_tokenizer: rest.pre_tokenizer, post_processor: null, decoder: rest.decoder,
    model: { type: "BPE", dropout: null, continuing_subword_prefix: null, end_of_word_suffix: null, ...rest.model, vocab: {}, merges }
  })).replace("\"vocab\":{}", () => `"vocab":{${entries}}`)
  return {
    "tokenizer.json": new TextEncoder().encode(json),
    "tokenizer_config.json": text({
      tokenizer_class: "PreTrainedTokenizerFast", ...special("bos"), ...special("eos"), ...special("padding")["padding_token"] === undefined ? {} : { pad_token: special("padding")["padding_token"] },
      add_bos_token: get("add_bos_token") ?? false, add_eos_token: get("add_eos_token") ?? false, clean_up_tokenization_spaces: false
    }),
    ...typeof template === "string" ? { "chat_template.jinja": new TextEncoder().encode(template) } : {}
  }
}

/** The tokenizer of an open file. Fails: GgufError naming the key; TokenizerError. */
export const ggufTokenizer = (file: string, header: Header): Effect.Effect<Tokenizer.Tokenizer, GgufError | Tokenizer.TokenizerError> =>
  Effect.flatMap(Effect.try({ try: () => tokenizerFiles(file, header), catch: (error) => { if (error instanceof GgufError) return error; throw error } }), (files) => Tokenizer.fromFiles(files, file))
