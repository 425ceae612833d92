/**
 * Prompt and decoding time of a random Llama in transformers.js on the processor, for eval:bench: gets {folder, threads} on the command line, where the folder has
 * @huggingface/transformers installed and decode_onnx.py's model; each line it reads, {prompt, tokens}, is answered by milliseconds, as decode.py does.
 */
import { createRequire } from "node:module"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { pathToFileURL } from "node:url"

const { folder, threads } = JSON.parse(process.argv[2])
const found = createRequire(join(folder, "package.json")).resolve("@huggingface/transformers")
const { AutoModelForCausalLM, env, Tensor } = await import(pathToFileURL(found).href)
env.allowRemoteModels = false
env.localModelPath = folder
const model = await AutoModelForCausalLM.from_pretrained("model", { dtype: "fp32", device: "cpu", session_options: { intraOpNumThreads: threads } })
const pass = async (ids, past, before) => {
  const length = ids.length, tensor = (values, count) => new Tensor("int64", BigInt64Array.from(values, BigInt), [1, count])
  const began = performance.now()
  const out = await model.forward({ input_ids: tensor(ids, length), attention_mask: tensor(new Array(before + length).fill(1), before + length), num_logits_to_keep: new Tensor("int64", [1n], []), ...past === undefined ? {} : { past_key_values: past } })
  const time = performance.now() - began
  const next = Object.fromEntries(Object.entries(out).filter(([name]) => name.startsWith("present")).map(([name, value]) => [name.replace("present", "past_key_values"), value]))
  return { time, past: next }
}
console.log(JSON.stringify({ version: `transformers.js ${env.version}` }))
for await (const line of createInterface({ input: process.stdin })) {
  const { prompt, tokens } = JSON.parse(line), times = []
  const first = await pass(Array.from({ length: prompt }, (_, at) => at), undefined, 0)
  for (let token = 0, { past } = first; token < tokens; token++) {
    const next = await pass([token], past, prompt + token)
    past = next.past
    times.push(next.time)
  }
  console.log(JSON.stringify({ prompt: first.time, tokens: times }))
}
