/**
 * Tokenizers read from GGUF files, against the ids that others expect. Every `NAME.gguf` of a folder whose `NAME.gguf.inp` and `NAME.gguf.out` stand beside it
 * (llama.cpp's `models`: texts, and the ids that Hugging Face's tokenizer of that model gave) is held to them. Expectations of other kinds (a `.out` without its
 * file, a JSON of Hugging Face's `{ text, token_ids, decoded_text }`) are held to every tokenizer of the folder, and those that give every id are named.
 *
 *     npm run pipeline -- tools/parity/tokenizers.ts FOLDER [EXPECTED.json …]
 */
import { Gguf, type Tokenizer } from "@switchyard/core"
import { Effect } from "effect"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { basename, join } from "node:path"

const [folder, ...expectations] = process.argv.slice(2)
if (folder === undefined) throw new Error("usage: tools/parity/tokenizers.ts FOLDER [EXPECTED.json …]")
interface Case { readonly text: string; readonly ids: ReadonlyArray<number> }

const casesOf = (path: string): ReadonlyArray<Case> => {
  const ids = readFileSync(`${path}.out`, "utf8").split("\n").map((line) => line.split(" ").filter((id) => id !== "").map(Number))
  return readFileSync(`${path}.inp`, "utf8").split("\n__ggml_vocab_test__\n").map((text, i) => ({ text, ids: ids[i] ?? [] }))
}
/** How many cases give every id; a first expected id that is the beginning-of-text token alone is no part of the text. */
const equal = (tokenizer: Tokenizer.Tokenizer, cases: ReadonlyArray<Case>): number => cases.filter(({ text, ids }) => {
  const given = [...tokenizer.encode(text)], wanted = ids.length === given.length + 1 && ids[0] === tokenizer.bos ? ids.slice(1) : ids
  return given.length === wanted.length && given.every((id, i) => id === wanted[i])
}).length

const opened = new Map<string, Tokenizer.Tokenizer>(), names = readdirSync(folder).sort()
let unequal = 0
for (const name of names.filter((name) => name.endsWith(".gguf"))) {
  const path = join(folder, name)
  const tokenizer = await Effect.runPromise(Effect.match(Effect.flatMap(Gguf.open(path), Gguf.tokenizer), { onSuccess: (found) => found, onFailure: (error) => error.message }))
  if (typeof tokenizer === "string") {
    console.log(`${name}: refused: ${tokenizer.slice(path.length + 2)}`)
    continue
  }
  opened.set(name, tokenizer)
  const cases = existsSync(`${path}.inp`) && existsSync(`${path}.out`) ? casesOf(path) : [], agreeing = equal(tokenizer, cases)
  const kept = cases.filter(({ text }) => tokenizer.decode(tokenizer.encode(text)) === text).length
  unequal += cases.length - agreeing
  console.log(cases.length === 0 ? `${name}: read, ${tokenizer.vocabulary} ids; nothing is expected of it` : `${name}: ${agreeing} of ${cases.length} texts with every id, ${kept} decoded to themselves`)
}
const others = [
  ...names.filter((name) => name.endsWith(".gguf.out") && !names.includes(name.slice(0, -4))).map((name) => ({ name, cases: casesOf(join(folder, name.slice(0, -4))) })),
  ...expectations.map((path) => {
    const { text, token_ids: ids } = JSON.parse(readFileSync(path, "utf8")) as { text: string; token_ids: ReadonlyArray<number> }
    return { name: basename(path), cases: [{ text, ids }] }
  })
]
for (const { name, cases } of others) {
  const agreeing = [...opened].filter(([, tokenizer]) => equal(tokenizer, cases) === cases.length).map(([file]) => file)
  console.log(`${name}: ${cases.length} ${cases.length === 1 ? "text" : "texts"}, ${cases.reduce((sum, { ids }) => sum + ids.length, 0)} ids: ${agreeing.length === 0 ? "no vocabulary here gives them" : `every id by ${agreeing.join(", ")}`}`)
}
process.exitCode = unequal === 0 ? 0 : 1
