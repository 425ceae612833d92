/**
 * The tokenizer of a GGUF file's metadata, as the files that Hugging Face's tools read: byte-level BPE (`gpt2`) becomes a tokenizer.json with its
 * vocabulary, merges and special tokens, and the way of cutting text that `tokenizer.ggml.pre` names.
 */
import { Effect } from "effect"
import { GgufError, type Header } from "./GgufHeader.ts"
import * as Tokenizer from "./Tokenizer.ts"
import { nearest } from "./Weights.ts"

const byteLevel = (use_regex: boolean) => ({ type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex })
const split = (Regex: string) => ({ type: "Sequence", pretokenizers: [{ type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false }, byteLevel(false)] })
const words = (digits: string) => `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`
const digits = { type: "Sequence", pretokenizers: [{ type: "Digits", individual_digits: true }, byteLevel(true)] }

/** `tokenizer.ggml.pre` → how text is cut before merging, as tokenizer.json says it. */
const cuts: Readonly<Record<string, { readonly pre_tokenizer: object; readonly normalizer?: object; readonly ignore_merges?: boolean }>> = {
  "gpt-2": { pre_tokenizer: byteLevel(true) },
  "llama-bpe": { pre_tokenizer: split(words("\\p{N}{1,3}")), ignore_merges: true },
  "qwen2": { pre_tokenizer: split(words("\\p{N}")), normalizer: { type: "NFC" } },
  "smollm": { pre_tokenizer: digits }
}
/** Numbers of `tokenizer.ggml.token_type`: a control token is special, one that a user defined is matched whole but printed. */
const control = 3, userDefined = 4

const text = (json: unknown): Uint8Array => new TextEncoder().encode(`${JSON.stringify(json)}\n`)

/** The files that Hugging Face's tools read, of a file's metadata. Fails: throws GgufError naming the key; for SentencePiece vocabularies, which cannot be read yet. */
export const tokenizerFiles = (file: string, { metadata }: Header): Readonly<Record<string, Uint8Array>> => {
  const fail = (key: string, problem: string, remedy: string): never => { throw new GgufError({ file, key: `tokenizer.ggml.${key}`, problem, remedy }) }
  const get = (key: string) => metadata.get(`tokenizer.ggml.${key}`)
  const strings = (key: string): ReadonlyArray<string> => {
    const list = get(key)
    return Array.isArray(list) ? list as ReadonlyArray<string> : fail(key, list === undefined ? "it is missing" : "it is not a list of strings", "convert the model again with its tokenizer")
  }
  const kind = get("model"), cut = get("pre") ?? "gpt-2"
  if (kind !== "gpt2") {
    fail("model", `a tokenizer of kind ${JSON.stringify(typeof kind === "string" ? kind.slice(0, 60) : "(none)")} cannot be read yet, only byte-level BPE (gpt2) can`,
      "open the model's folder from the Hub, which holds tokenizer.json, or pass `tokenizer` to Checkpoint.open")
  }
  if (typeof cut !== "string" || !Object.hasOwn(cuts, cut)) return fail("pre", `${JSON.stringify(String(cut).slice(0, 60))} is not known; the nearest is ${nearest(String(cut).slice(0, 60), Object.keys(cuts))}`, "open the model's folder from the Hub, or pass `tokenizer` to Checkpoint.open")
  const tokens = strings("tokens"), merges = strings("merges"), types = get("token_type")
  const vocab = new Map(tokens.map((token, id) => [token, id]))
  if (vocab.size !== tokens.length) fail("tokens", `${tokens.length - vocab.size} tokens stand twice`, "convert the model again")
  if (types !== undefined && (!(types instanceof Int32Array || types instanceof Uint32Array) || types.length !== tokens.length)) return fail("token_type", `it is not a list of ${tokens.length} integers`, "convert the model again")
  const pairs = merges.map((merge, i) => {
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
  const { pre_tokenizer, normalizer = null, ignore_merges = false } = cuts[cut]!, template = metadata.get("tokenizer.chat_template")
  // written entry by entry: an object would put names that look like numbers first
  const entries = [...vocab].map(([token, id]) => `${JSON.stringify(token)}:${id}`).join(",")
  const json = new TextDecoder().decode(text({
    version: "1.0", truncation: null, padding: null, added_tokens: added, normalizer, pre_tokenizer, post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: "BPE", dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false, byte_fallback: false, ignore_merges, vocab: {}, merges: pairs }
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
