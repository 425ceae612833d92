/**
 * How text is cut before BPE merges it, by the name in a GGUF file's `tokenizer.ggml.pre`: data alone. A row says what the model's published
 * tokenizer.json says, or llama.cpp where none was seen. What the engine reads otherwise than Hugging Face's own tokenizers, `preTokenizers.ts`
 * sees to when the file is opened. Matches are Isolated, where a file may say that what is between them (nothing) is Removed.
 */

/** A row: parts of tokenizer.json. `ignore_merges`: a piece that is a token stays whole, though no merges make it. */
export interface Cut { readonly pre_tokenizer: object; readonly normalizer?: object; readonly ignore_merges?: boolean }

const bytes = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false }
const isolated = (Regex: string) => ({ type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false })
const sequence = (...pretokenizers: ReadonlyArray<object>) => ({ type: "Sequence", pretokenizers })
const cut = (...patterns: ReadonlyArray<string>) => sequence(...patterns.map(isolated), bytes)
const nfc = { type: "NFC" }

const contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)", letters = "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+", spaces = "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
const marks = (lineEnds: string) => ` ?[^\\s\\p{L}\\p{N}]+[${lineEnds}]*|${spaces}`
/** Each number a piece; GPT-2's words, then their bytes. */
const digits = { type: "Digits", individual_digits: true }, words = { ...bytes, use_regex: true }
/** GPT-4's (cl100k), by how many digits stand together. */
const gpt4 = (digits: string) => `${contractions}|${letters}|${digits}|${marks("\\r\\n")}`
/** GPT-4o's (o200k): a word changes where its letters' case does. `without`: letters that it leaves to others. */
const mixed = (ending: string, without = "") => {
  const upper = `[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}${without}]`, lower = `[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}${without}]`, before = "[^\\r\\n\\p{L}\\p{N}]?"
  return `${before}${upper}*${lower}+${ending}|${before}${upper}+${lower}*${ending}`
}
const gpt4o = `${mixed(`${contractions}?`)}|\\p{N}{1,3}|${marks("\\r\\n/")}`
const bloom = " ?[^(\\s|[.,!?…。，、।۔،])]+"
const kana = "[\\u4E00-\\u9FA5\\u3040-\\u309F\\u30A0-\\u30FF]+", hanAndHangul = "[\\u4E00-\\u9FA5\\u0800-\\u4E00\\uAC00-\\uD7FF]+"
const deepseek3 = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+"
/** DeepSeek LLM's letters, those with two cases in Unicode 12, code point by code point. */
const cased = "A-Za-z\\u00B5\\u00C0-\\u00D6\\u00D8-\\u00F6\\u00F8-\\u01BA\\u01BC-\\u01BF\\u01C4-\\u0293\\u0295-\\u02AF\\u0370-\\u0373\\u0376\\u0377\\u037B-\\u037D\\u037F\\u0386\\u0388-\\u038A\\u038C"
  + "\\u038E-\\u03A1\\u03A3-\\u03F5\\u03F7-\\u0481\\u048A-\\u052F\\u0531-\\u0556\\u10A0-\\u10C5\\u13A0-\\u13F5\\u13F8-\\u13FD\\u1C90-\\u1CBA\\u1CBD-\\u1CBF\\u1D00-\\u1D2B\\u1D6B-\\u1D77\\u1D79-\\u1D9A"
  + "\\u1E00-\\u1F15\\u1F18-\\u1F1D\\u1F20-\\u1F45\\u1F48-\\u1F4D\\u1F50-\\u1F57\\u1F59\\u1F5B\\u1F5D\\u1F5F-\\u1F7D\\u1F80-\\u1FB4\\u1FB6-\\u1FBC\\u1FBE\\u1FC2-\\u1FC4\\u1FC6-\\u1FCC\\u1FD0-\\u1FD3"
  + "\\u1FD6-\\u1FDB\\u1FE0-\\u1FEC\\u1FF2-\\u1FF4\\u1FF6-\\u1FFC\\u2102\\u2107\\u210A-\\u2113\\u2115\\u2119-\\u211D\\u2124\\u2126\\u2128\\u212A-\\u212D\\u212F-\\u2134\\u2139\\u213C-\\u213F"
  + "\\u2145-\\u2149\\u214E\\u2183\\u2184\\u2C00-\\u2C7B\\u2C7E-\\u2CE4\\u2CEB-\\u2CEE\\u2CF2\\u2CF3\\uA640-\\uA66D\\uA680-\\uA69B\\uA722-\\uA76F\\uA771-\\uA787\\uA78B-\\uA78E\\uAB70-\\uABBF"
  + "\\uFB00-\\uFB06\\uFB13-\\uFB17\\uFF21-\\uFF3A\\uFF41-\\uFF5A\u{10400}-\u{1044F}\u{104B0}-\u{104D3}\u{104D8}-\u{104FB}\u{10C80}-\u{10CB2}\u{10CC0}-\u{10CF2}\u{118A0}-\u{118DF}\u{1E900}-\u{1E943}"
const stops = "!-/:-~\\uFF01-\\uFF0F\\uFF1A-\\uFF5E\\u2018-\\u201F\\u3000-\\u3002"
const halves = [512, 256, 128, 64, 32, 16, 8, 4].map((many) => `\\s{${many}}(?!\\S)|`).join("")
const han = "&&[^\\p{Script=Han}]"

/** `tokenizer.ggml.pre` → how text is normalized and cut. */
export const cuts: Readonly<Record<string, Cut>> = {
  "gpt-2": { pre_tokenizer: words },
  "mpt": { pre_tokenizer: words, normalizer: nfc },
  "llama-bpe": { pre_tokenizer: cut(gpt4("\\p{N}{1,3}")), ignore_merges: true },
  "dbrx": { pre_tokenizer: cut(gpt4("\\p{N}{1,3}")) },
  "qwen2": { pre_tokenizer: cut(gpt4("\\p{N}")), normalizer: nfc },
  "grok-2": { pre_tokenizer: cut(gpt4("\\p{N}")) },
  "qwen35": { pre_tokenizer: cut(`${contractions}|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|${spaces}`), normalizer: nfc },
  "smollm": { pre_tokenizer: sequence(digits, words) },
  "command-r": { pre_tokenizer: sequence(digits, words), normalizer: nfc },
  // Falcon cuts digits after text became letters of bytes, some of which (¹ ² ³ ¼ ½ ¾) are numbers to Unicode
  "falcon": { pre_tokenizer: sequence({ type: "Punctuation", behavior: "Contiguous" }, words, { ...digits, individual_digits: false }, isolated("[0-9][0-9][0-9]")) },
  "deepseek-llm": { pre_tokenizer: sequence(...["[\\r\\n]", `\\s?[${cased}]+`, `\\s?[${stops}]+`, "\\s+$", hanAndHangul].map(isolated), digits, bytes) },
  "deepseek-coder": { pre_tokenizer: sequence(...["[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", hanAndHangul].map(isolated), digits, bytes) },
  "deepseek-v3": { pre_tokenizer: cut("\\p{N}{1,3}", kana, `${deepseek3}[\\r\\n]*|${spaces}`) },
  "spark2_5": { pre_tokenizer: sequence(...["\\p{N}{1,3}", kana, `${deepseek3}|[\\r\\n]|\\s+(?!\\S)|\\s+`].map(isolated), digits, bytes) },
  "gpt-4o": { pre_tokenizer: cut(gpt4o) },
  "granite-embed-multi-97m": { pre_tokenizer: cut(gpt4o), ignore_merges: true },
  "tekken": { pre_tokenizer: cut(`${mixed("")}|\\p{N}|${marks("\\r\\n/")}`), ignore_merges: true },
  "tiny_aya": { pre_tokenizer: cut("\\d{1,3}(?=(?:\\d{3})*\\b)", gpt4o) },
  "kimi-k2": { pre_tokenizer: cut(`[\\p{Script=Han}]+|${mixed(`${contractions}?`, han)}|\\p{N}{1,3}|${marks("\\r\\n")}`) },
  "bloom": { pre_tokenizer: cut(bloom) },
  "viking": { pre_tokenizer: cut(bloom, "\\p{N}") },
  "superbpe": { pre_tokenizer: cut("\\p{N}+", "(?=(\\d{3})+(?!\\d))") },
  "bailingmoe": { pre_tokenizer: cut(`'(?i:[sdmt]|ll|ve|re)|${letters}|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+`) },
  "seed-coder": { pre_tokenizer: cut(`${contractions}|${letters}|\\p{N}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|${spaces}`) },
  "minicpm5": { pre_tokenizer: cut("\\p{N}{1,3}", gpt4("\\p{N}+")), ignore_merges: true },
  "exaone-moe": { pre_tokenizer: cut(`${contractions}|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+`) },
  "youtu": { pre_tokenizer: cut(`[\\uAC00-\\uD7A3\\u3131-\\u318E]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|${kana}`, `${mixed(`${contractions}?`)}|\\p{N}|${marks("\\r\\n/")}`), ignore_merges: true },
  "ufakzeka": { pre_tokenizer: cut(`${letters}|\\p{N}|${marks("\\r\\n")}`) },
  "laguna": { pre_tokenizer: sequence({ ...isolated("(?:\\r?\\n)+(?!\\r?\\n)"), behavior: "MergedWithNext" }, isolated(gpt4("\\p{N}")), bytes) },
  "jais-2": { pre_tokenizer: cut(`${contractions}|${letters}|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|${halves}\\s{1,2}(?!\\S)|\\s{1}`) },
  "chameleon": { pre_tokenizer: sequence(...["<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )"].map(isolated), digits, { type: "Punctuation", behavior: "Isolated" }, words) }
}

/** Other names of a cut, as llama.cpp has them. */
export const aliases: Readonly<Record<string, string>> = Object.fromEntries(Object.entries({
  "gpt-2": ["phi-2", "jina-es", "jina-de", "jina-v1-en", "jina-v2-es", "jina-v2-de", "jina-v2-code", "roberta-bpe", "gigachat", "a.x-4.0", "mellum", "exaone4", "jais", "trillion", "granite-docling"],
  "mpt": ["olmo", "modern-bert"],
  "llama-bpe": ["llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"],
  "dbrx": ["smaug-bpe", "glm4", "chatglm-bpe"],
  "qwen2": ["deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan"],
  "grok-2": ["solar-open"],
  "smollm": ["starcoder", "refact", "codeshell", "exaone", "minerva-7b", "mellum2"],
  "deepseek-v3": ["hunyuan-dense", "joyai-llm", "hy_v4"],
  "gpt-4o": ["llama4", "kanana2", "talkie", "minimax-m2"],
  "tiny_aya": ["cohere2moe"],
  "bloom": ["poro-chat", "gpt3-finnish"],
  "bailingmoe": ["bailingmoe2", "llada-moe"]
}).flatMap(([cut, names]) => names.map((name) => [name, cut])))
