/**
 * A tokenizer.json's `pre_tokenizer` (how text is cut before BPE merges it) as Hugging Face's own tokenizers read it, said in the forms that
 * @huggingface/tokenizers reads alike. That engine's own kinds differ: Digits and Whitespace know ASCII alone, ByteLevel's words and
 * WhitespaceSplit take U+FEFF for a space and U+0085 for none, Punctuation joins marks whatever it is told, Metaspace does not cut, FixedLength
 * counts half characters, and Split does not know a match that joins its neighbour, nor Removed with a pattern that captures. What it does well is
 * Split, Isolated: every match, and all that is between two, is a piece. So each kind becomes patterns of that sort.
 */
type Node = { readonly [key: string]: unknown }

/** GPT-2's words. */
const words = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
/** Marks that Unicode has had since its 8th version, code point by code point: to Hugging Face's Punctuation they are none, and two that changed still are. */
const newer = "\u061D\u09FD\u0A76\u0C77\u0C84\u1B4E-\u1B4F\u1B7D-\u1B7F\u2E43-\u2E4F\u2E52-\u2E5D\u{10D6E}\u{10EAD}\u{10ED0}\u{10F55}-\u{10F59}\u{10F86}-\u{10F89}\u{113D4}-\u{113D5}\u{113D7}-\u{113D8}\u{1144B}-\u{1144F}\u{1145A}-\u{1145B}\u{1145D}\u{11660}-\u{1166C}\u{116B9}\u{1183B}\u{11944}-\u{11946}\u{119E2}"
  + "\u{11A3F}-\u{11A46}\u{11A9A}-\u{11A9C}\u{11A9E}-\u{11AA2}\u{11B00}-\u{11B09}\u{11BE1}\u{11C41}-\u{11C45}\u{11C70}-\u{11C71}\u{11EF7}-\u{11EF8}\u{11F43}-\u{11F4F}\u{11FFF}\u{12FF1}-\u{12FF2}\u{16D6D}-\u{16D6F}\u{16E97}-\u{16E9A}\u{16FE2}\u{1E5FF}\u{1E95E}-\u{1E95F}"
/** Punctuation: Unicode's, and ASCII's symbols. */
const mark = `(?:(?![${newer}])[\\p{P}!-/:-@\\[-\`{-~\u166D\u{111C9}])`
/** Rust's `\w`; the engine's is Oniguruma's. */
const letter = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\u200C\\u200D"

const cut = (Regex: string): Node => ({ type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false })
const only = (Regex: string): Node => ({ type: "Split", pattern: { Regex }, behavior: "Removed", invert: true })
const sequence = (...pretokenizers: ReadonlyArray<Node>): Node => ({ type: "Sequence", pretokenizers })
const fail = (kind: unknown, problem: string): never => { throw new Error(`its pre-tokenizer ${String(kind).slice(0, 60)}: ${problem}`) }

/** The pattern without captures: `(…)` as `(?:…)`, but for what a backslash or a class quotes. */
const uncaptured = (pattern: string): string => {
  let depth = 0
  return pattern.replace(/\\[\s\S]|\[|\]|\((?!\?)/g, (found) => {
    if (found === "[") depth++
    if (found === "]") depth = Math.max(0, depth - 1)
    return found === "(" && depth === 0 ? "(?:" : found
  })
}

/** Split: a pattern and what becomes of its matches. Inverted, what is between matches is the match: then the two ways of joining change places. */
const split = (kind: string, given: string, behavior: unknown, invert: boolean): Node => {
  if (behavior === "Isolated") return cut(given)
  if (behavior === "Removed" && invert) return only(given)
  if (/\\(?:[1-9]|k<)|\(\?<[A-Za-z_]/.test(given)) return fail(kind, `the behavior ${String(behavior)} of a pattern that refers to its own parts cannot be had`)
  const pattern = uncaptured(given), between = `(?:(?!${pattern})[\\s\\S])*`
  switch (behavior) {
    case "Removed": return { ...cut(pattern), behavior: "Removed" }
    case "Contiguous": return cut(`(?:${pattern})+`)
    case invert ? "MergedWithPrevious" : "MergedWithNext": return cut(`(?:${pattern})${between}`)
    case invert ? "MergedWithNext" : "MergedWithPrevious": return cut(`${between}(?:${pattern})?`)
    default: return fail(kind, `the behavior ${JSON.stringify(behavior)} is none of Removed, Isolated, Contiguous, MergedWithPrevious and MergedWithNext`)
  }
}

const splitOf = (node: Node): Node => {
  const { String: plain, Regex } = (node["pattern"] ?? {}) as Node
  const pattern = typeof Regex === "string" ? Regex : typeof plain === "string" ? plain.replace(/[.*+?^${}()|[\]\\]/g, "\\$&") : fail("Split", "it has no pattern")
  return split("Split", pattern, node["behavior"], node["invert"] === true)
}

/** GPT-2's words, then the letters of their bytes; a space goes before a piece that has none (one match of all of it: where nothing is matched, the engine halves characters). */
const byteLevel = (node: Node): Node => {
  const parts = [cut(words), { ...node, add_prefix_space: false, use_regex: false }]
  return sequence(...node["add_prefix_space"] === true ? [{ type: "Replace", pattern: { Regex: "\\A ?([\\s\\S]*)" }, content: " $1" }, ...parts] : parts)
}

const metaspace = (node: Node): Node => {
  const replacement = typeof node["replacement"] === "string" ? node["replacement"] : "\u2581"
  const spaces: Node = node["prepend_scheme"] === undefined && node["add_prefix_space"] === false ? { ...node, prepend_scheme: "never" } : node
  return node["split"] === false ? spaces : sequence(spaces, splitOf({ pattern: { String: replacement }, behavior: "MergedWithNext" }))
}

/** The node in forms that the engine reads as Hugging Face's tokenizers read the node. Fails: throws an Error that names what cannot be had. */
export const preTokenizer = (given: unknown): unknown => {
  if (typeof given !== "object" || given === null) return given
  const node = given as Node
  switch (node["type"]) {
    case "Sequence": return Array.isArray(node["pretokenizers"]) ? { ...node, pretokenizers: node["pretokenizers"].map(preTokenizer) } : node
    case "Split": return splitOf(node)
    case "Digits": return cut(node["individual_digits"] === true ? "\\p{N}" : "\\p{N}+")
    case "Punctuation": return split("Punctuation", mark, node["behavior"] ?? "Isolated", false)
    case "ByteLevel": return node["use_regex"] === false ? node : byteLevel(node)
    case "Whitespace": return only(`[${letter}]+|[^${letter}\\s]+`)
    case "WhitespaceSplit": return only("\\S+")
    case "BertPreTokenizer": return sequence(only("\\S+"), cut(mark))
    case "Metaspace": return metaspace(node)
    case "FixedLength": return cut(`[\\s\\S]{1,${Number(node["length"] ?? 5)}}`)
    default: return node
  }
}
