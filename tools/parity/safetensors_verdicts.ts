/**
 * Damaged safetensors files with our verdicts, for tools/parity/safetensors_verdicts.py, which asks the reference implementation.
 *
 *   node --import tsx --conditions=@switchyard/source tools/parity/safetensors_verdicts.ts COUNT > verdicts.json
 */
import { Random, Safetensors } from "@switchyard/core"
import { Effect } from "effect"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const count = Number(process.argv[2] ?? 2000), folder = mkdtempSync(join(tmpdir(), "verdicts-")), path = join(folder, "x.safetensors")
const pieces = [..."0123456789[]{},:\"\\-e. ", "00", "\"a\"", "\"F32\"", "\"BF16\"", "[]", "null", "\\u0061", "18446744073709551615"]
const header = JSON.stringify({
  __metadata__: { format: "pt" }, a: { dtype: "F32", shape: [2], data_offsets: [0, 8] }, b: { dtype: "BF16", shape: [2, 2], data_offsets: [8, 16] },
  c: { dtype: "I64", shape: [], data_offsets: [16, 24] }, d: { dtype: "F16", shape: [0, 7], data_offsets: [24, 24] }
})
const cases: Array<{ readonly file: string; readonly verdict: string }> = []
for (let i = 0; i < count; i++) {
  const source = Random.make(1, `case ${i}`)
  let text = header
  for (let edit = 0; edit <= Random.below(source, 0, 3); edit++) {
    const at = Random.below(source, 10 * edit + 1, text.length), gone = Random.below(source, 10 * edit + 2, 3)
    text = text.slice(0, at) + (Random.below(source, 10 * edit + 3, 4) === 0 ? "" : pieces[Random.below(source, 10 * edit + 4, pieces.length)]!) + text.slice(at + gone)
  }
  const json = new TextEncoder().encode(text), bytes = new Uint8Array(8 + json.length + 24)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true)
  bytes.set(json, 8)
  writeFileSync(path, bytes)
  const verdict = await Effect.runPromise(Safetensors.open(path).pipe(Effect.match({ onSuccess: () => "ok", onFailure: (error) => error.reason })))
  cases.push({ file: Buffer.from(bytes).toString("base64"), verdict })
}
rmSync(folder, { recursive: true })
console.log(JSON.stringify(cases))
