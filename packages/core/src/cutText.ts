/**
 * Cuts one long text into documents at the places where a reader would: between paragraphs, else between lines, else after a sentence,
 * else after a word. Nothing is lost or added: the pieces joined are the text.
 */

const ends = [/\n[ \t]*\n+/g, /\n/g, /[.!?]["')\]]?\s+/g, /\s+/g]

/** Pieces of at most about `size` characters (a text without white space is cut at `size`); a piece is never cut finer than it must be. */
export const cutText = (text: string, size: number): ReadonlyArray<string> => {
  if (!Number.isInteger(size) || size < 1) throw new Error(`cutText: size must be a positive integer, got ${size}`)
  return pack(finer(text, size, 0), size)
}

/** Parts none longer than `size`, cut at the coarsest places that allow it. */
const finer = (text: string, size: number, level: number): ReadonlyArray<string> => {
  if (text.length <= size) return [text]
  const end = ends[level]
  const parts: Array<string> = []
  if (end === undefined) {
    for (let from = 0; from < text.length;) {
      let to = Math.min(from + size, text.length)
      const last = text.charCodeAt(to - 1)
      if (last >= 0xd800 && last < 0xdc00 && to < text.length) to++ // a surrogate pair stays whole
      parts.push(text.slice(from, to))
      from = to
    }
    return parts
  }
  let from = 0
  for (const match of text.matchAll(end)) {
    parts.push(text.slice(from, match.index + match[0].length))
    from = match.index + match[0].length
  }
  if (from < text.length) parts.push(text.slice(from))
  return parts.flatMap((part) => part.length > size ? pack(finer(part, size, level + 1), size) : [part])
}

const pack = (parts: ReadonlyArray<string>, size: number): ReadonlyArray<string> => {
  const packed: Array<string> = []
  let current = ""
  for (const part of parts) {
    if (current !== "" && current.length + part.length > size) { packed.push(current); current = "" }
    current += part
  }
  if (current !== "") packed.push(current)
  return packed
}
