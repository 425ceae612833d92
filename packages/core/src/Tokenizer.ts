/**
 * Text ↔ token ids. Two kinds: our own byte tokenizer, native and fast, and everything that a `tokenizer.json` describes.
 *
 * A tokenizer carries its files byte for byte, so that what is written beside a model is what was read. `encode` adds no special tokens by
 * itself: whoever wants a beginning-of-text token puts `bos` there.
 */
import { Tokenizer as HuggingFace } from "@huggingface/tokenizers"
import { Effect, Schema } from "effect"
import { createHash } from "node:crypto"
import { readdir, readFile } from "node:fs/promises"
import { join } from "node:path"
import { preTokenizer } from "./preTokenizers.ts"

/** `vocabulary`: the largest id plus one; a model may have more rows, whose ids `decode` takes too. `hash`: equal for tokenizers that give equal ids. `files`: name → content, as found. */
export interface Tokenizer {
  readonly encode: (text: string) => Uint32Array
  readonly decode: (ids: ArrayLike<number>) => string
  readonly vocabulary: number
  readonly bos?: number
  readonly eos?: number
  readonly hash: string
  readonly files: Readonly<Record<string, Uint8Array>>
}

/** A tokenizer's files are missing or cannot be used. */
export class TokenizerError extends Schema.TaggedError<TokenizerError>()("TokenizerError", { file: Schema.String, problem: Schema.String, remedy: Schema.String }) {
  override get message() { return `${this.file}: ${this.problem}. Remedy: ${this.remedy}.` }
}

/** Names of files that belong to a tokenizer. */
export const fileNames: ReadonlyArray<string> = [
  "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model", "vocab.json", "merges.txt", "chat_template.jinja"
]

const text = (json: unknown): Uint8Array => new TextEncoder().encode(`${JSON.stringify(json, null, 2)}\n`)

/** What decides about ids, hashed: formatting, templates and names of special tokens do not count. */
const hashOf = (json: { readonly [key: string]: unknown }): string =>
  createHash("sha256").update(JSON.stringify(["normalizer", "pre_tokenizer", "model", "added_tokens", "decoder"].map((key) => json[key] ?? null))).digest("hex")

// ---------------------------------------------------------------- bytes
const special = ["<|bos|>", "<|eos|>", "<|pad|>", "<|unk|>"]
const specialPattern = /<\|(?:bos|eos|pad|unk)\|>/g

/** The letter that GPT-2's byte alphabet gives each byte: itself where it prints, else the next from U+0100 on. */
const alphabet = (): ReadonlyArray<string> => {
  let next = 256
  return Array.from({ length: 256 }, (_, byte) =>
    String.fromCharCode((byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174 ? byte : next++))
}

/** The byte tokenizer as a tokenizer.json: byte-level BPE without merges. */
const byteJson = () => ({
  version: "1.0", truncation: null, padding: null,
  added_tokens: special.map((content, i) => ({ id: 256 + i, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true })),
  normalizer: null,
  pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
  post_processor: null,
  decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
  model: {
    type: "BPE", dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false, byte_fallback: false, ignore_merges: false,
    vocab: Object.fromEntries(alphabet().map((letter, byte) => [letter, byte])), merges: []
  }
})

const byteConfig = {
  tokenizer_class: "PreTrainedTokenizerFast", bos_token: "<|bos|>", eos_token: "<|eos|>", pad_token: "<|pad|>", unk_token: "<|unk|>",
  add_bos_token: false, add_eos_token: false, clean_up_tokenization_spaces: false, model_max_length: 1_000_000_000
}

const encodeBytes = (source: string): Uint32Array => {
  const encoder = new TextEncoder()
  if (!source.includes("<|")) return Uint32Array.from(encoder.encode(source))
  const ids: Array<number> = []
  let at = 0
  for (const { 0: token, index } of source.matchAll(specialPattern)) {
    for (const byte of encoder.encode(source.slice(at, index))) ids.push(byte)
    ids.push(256 + special.indexOf(token))
    at = index + token.length
  }
  for (const byte of encoder.encode(source.slice(at))) ids.push(byte)
  return Uint32Array.from(ids)
}

const decodeBytes = (ids: ArrayLike<number>): string => {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true })
  let out = "", bytes: Array<number> = []
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i]!
    if (!(Number.isInteger(id) && id >= 0)) throw new Error(`Tokenizer.decode: id ${id} at ${i}: ids are whole numbers from 0 on`)
    if (id < 256) { bytes.push(id); continue }
    if (id >= 260) continue // a padding row of the model's: no text, as transformers has it
    out += decoder.decode(Uint8Array.from(bytes)) + special[id - 256]!
    bytes = []
  }
  return out + decoder.decode(Uint8Array.from(bytes))
}

let made: Tokenizer | undefined
/** The byte tokenizer: ids 0 … 255 are bytes of UTF-8; 256 `<|bos|>`, 257 `<|eos|>`, 258 `<|pad|>`, 259 `<|unk|>`. Its files load in transformers with the same ids. */
export const bytes = (): Tokenizer => {
  const json = byteJson()
  return made ??= {
    encode: encodeBytes, decode: decodeBytes, vocabulary: 260, bos: 256, eos: 257, hash: hashOf(json),
    files: { "tokenizer.json": text(json), "tokenizer_config.json": text(byteConfig) }
  }
}

// ---------------------------------------------------------------- tokenizer.json
type Object = { readonly [key: string]: unknown }

const parse = (files: Readonly<Record<string, Uint8Array>>, name: string, at: string): Object => {
  const remedy = "fetch the tokenizer's files again"
  let json: unknown
  try {
    json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(files[name]))
  } catch (error) {
    throw new TokenizerError({ file: join(at, name), problem: `it is not JSON (${(error as Error).message})`, remedy })
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw new TokenizerError({ file: join(at, name), problem: "it is not an object", remedy })
  return json as Object
}

/** A special token's text: `"<s>"` or `{ "content": "<s>" }`. */
const contentOf = (token: unknown): string | undefined =>
  typeof token === "string" ? token : typeof token === "object" && token !== null && typeof (token as Object)["content"] === "string" ? (token as Object)["content"] as string : undefined

/** The tokenizer of files in memory. Options: `at`, where they are from, for messages. Fails: TokenizerError. */
export const fromFiles = (files: Readonly<Record<string, Uint8Array>>, at = ""): Effect.Effect<Tokenizer, TokenizerError> =>
  Effect.suspend(() => {
    try {
      if (files["tokenizer.json"] === undefined) {
        const instead = ["tokenizer.model", "vocab.json"].find((name) => files[name] !== undefined)
        throw new TokenizerError({
          file: join(at, "tokenizer.json"), problem: `there is none${instead === undefined ? "" : `, only ${instead}`}`,
          remedy: "save it with transformers' AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
        })
      }
      const json = parse(files, "tokenizer.json", at), config = files["tokenizer_config.json"] === undefined ? {} : parse(files, "tokenizer_config.json", at)
      const map = files["special_tokens_map.json"] === undefined ? {} : parse(files, "special_tokens_map.json", at)
      const hash = hashOf(json)
      if (hash === bytes().hash) return Effect.succeed({ ...bytes(), files })
      let inner: HuggingFace, ids: ReadonlyArray<number>
      try {
        inner = new HuggingFace(json["pre_tokenizer"] === undefined ? json : { ...json, pre_tokenizer: preTokenizer(json["pre_tokenizer"]) }, config)
        ids = [...inner.get_vocab(true).values()]
      } catch (error) {
        throw new TokenizerError({ file: join(at, "tokenizer.json"), problem: `it cannot be used (${(error as Error).message})`, remedy: "check that it is a fast tokenizer's file" })
      }
      const vocabulary = ids.reduce((most, id) => Math.max(most, id + 1), 0)
      const idOf = (name: string) => {
        const content = contentOf(config[name]) ?? contentOf(map[name])
        return content === undefined ? undefined : inner.token_to_id(content)
      }
      const bos = idOf("bos_token"), eos = idOf("eos_token")
      return Effect.succeed({
        encode: (source: string) => Uint32Array.from(inner.encode(source, { add_special_tokens: false }).ids),
        decode: (given: ArrayLike<number>) => given.length === 0 ? "" : inner.decode(Array.from(given), { skip_special_tokens: false, clean_up_tokenization_spaces: false }),
        vocabulary, hash, files, ...bos === undefined ? {} : { bos }, ...eos === undefined ? {} : { eos }
      })
    } catch (error) {
      if (error instanceof TokenizerError) return Effect.fail(error)
      throw error
    }
  })

/** The tokenizer of a model's folder; our own byte tokenizer is recognised and runs natively. Fails: TokenizerError. */
export const fromFolder = (folder: string): Effect.Effect<Tokenizer, TokenizerError> =>
  Effect.tryPromise({
    try: async () => {
      const present = (await readdir(folder)).filter((name) => fileNames.includes(name))
      return Object.fromEntries(await Promise.all(present.map(async (name) => [name, new Uint8Array(await readFile(join(folder, name)))] as const)))
    },
    catch: (error) => new TokenizerError({ file: folder, problem: (error as Error).message, remedy: "check that the folder exists and is readable" })
  }).pipe(Effect.flatMap((files) => fromFiles(files, folder)))
