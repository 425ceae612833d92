/** gpt-oss in GGUF: experts of a layer in one tensor each of gate, up and down, with biases, mostly in MXFP4; a sink for every head. */
import { type Architecture, biases, decoder, denseKeys, experts, repeated, stacked, windows } from "./ggufRows.ts"

const { feed_forward_length: inner, ...keys } = denseKeys

/** The turns between which yarn interpolates are not rounded, as in OpenAI's own config; files cannot say it, and llama.cpp rounds them. */
export const gptOss: Architecture = {
  name: "gpt-oss", mixture: "gpt_oss", interleaved: false,
  names: [
    ...decoder.filter(([name]) => name !== "layers.{l}.feedForward.norm"), ["layers.{l}.feedForward.norm", "blk.{l}.post_attention_norm.weight"], ...biases, ...experts,
    ["layers.{l}.attention.outputBias", "blk.{l}.attn_output.bias"], ["layers.{l}.attention.sinks", "blk.{l}.attn_sinks.weight"], ["layers.{l}.router.bias", "blk.{l}.ffn_gate_inp.bias"]
  ],
  alternatives: [...stacked, ...stacked.map(({ canonical, file }) => ({ canonical: `${canonical}Bias`, file: file.replace(/weight$/, "bias"), part: 0, parts: 1 }))],
  keys: { ...keys, "expert_feed_forward_length": inner!, "expert_count": "num_local_experts", "expert_used_count": "num_experts_per_tok", "attention.sliding_window": "sliding_window" },
  repeated: { ...repeated, feed_forward_length: inner! },
  further: { keys: ["attention.sliding_window_pattern"], config: windows },
  yarn: () => ({ truncate: false })
}
