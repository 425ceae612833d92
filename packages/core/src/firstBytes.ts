/** The longest beginning of a text that fits in so many bytes of UTF-8, no character cut. */
export const firstBytes = (text: string, bytes: number): string => {
  if (Buffer.byteLength(text) <= bytes) return text
  const encoded = Buffer.from(text, "utf8")
  let end = bytes
  while (end > 0 && (encoded[end]! & 0xc0) === 0x80) end--
  return encoded.toString("utf8", 0, end)
}
