/**
 * Footers and page headers of Parquet, walked before they are parsed: a list that says it is longer than the bytes that hold it would be allocated at its word.
 *
 * They are written in Thrift's [compact protocol](https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md); hyparquet parses them.
 */

/** Deeper than any footer. A number has at most ten bytes. */
const deepest = 24, longest = 10

/**
 * Walks the struct that begins at a place and allocates nothing. Gives the place after it. `most`: values that it may hold, those of structs inside it too. Fails: throws where it does not
 * end within the bytes, is nested too deep, or holds more.
 */
export const walk = (view: DataView, from: number, most: number): number => {
  let at = from, left = most
  const refuse = (problem: string): never => { throw new Error(`thrift: ${problem}`) }
  const number = (): number => {
    let value = 0
    for (let length = 0; length < longest; length++) {
      const byte = view.getUint8(at++)
      if (length < 5) value += (byte & 0x7f) * 2 ** (7 * length)
      if (byte < 0x80) return value
    }
    return refuse("a number has more than ten bytes")
  }
  const skip = (bytes: number): void => { if (bytes > view.byteLength - at) refuse(`${bytes} bytes are said to follow, and there are ${view.byteLength - at}`); at += bytes }
  const element = (type: number, depth: number, isListed: boolean): void => {
    if (left-- <= 0) refuse(`it holds more than ${most} values`)
    switch (type) {
      case 1: case 2: skip(isListed ? 1 : 0); break // true and false
      case 3: skip(1); break
      case 4: case 5: case 6: number(); break
      case 7: skip(8); break
      case 8: skip(number()); break // bytes or text
      case 9: { // a list
        const head = view.getUint8(at++), size = head >> 4 === 15 ? number() : head >> 4
        if (size > view.byteLength - at) refuse(`a list says it has ${size} values in ${view.byteLength - at} bytes`)
        if (depth >= deepest) refuse(`it is nested deeper than ${deepest}`)
        for (let each = 0; each < size; each++) element(head & 15, depth + 1, true)
        break
      }
      case 12: struct(depth + 1); break
      default: refuse(`type ${type} is none of Parquet's`)
    }
  }
  const struct = (depth: number): void => {
    if (depth > deepest) refuse(`it is nested deeper than ${deepest}`)
    for (;;) {
      const head = view.getUint8(at++)
      if ((head & 15) === 0) return
      if (head >> 4 === 0) number()
      element(head & 15, depth, false)
    }
  }
  struct(0)
  return at
}
