/**
 * Gemma 2 and 3 in GGUF: second norms have names of their own, all norms are stored with one added, and there is no key for what scores are divided by: llama.cpp
 * takes the head size's root, and in the 27B models, which it knows by their number of layers, that of the hidden width over the heads.
 */
import type { Plain } from "./StrictJson.ts"
import { type Architecture, decoder, denseKeys, norms, type Reading, repeated, windows } from "./ggufRows.ts"

const divisor = (config: Reading["config"], layersOfLargest: number): Plain => {
  const { head_dim: size, hidden_size: hidden, num_attention_heads: heads, num_hidden_layers: layers } = config as Readonly<Record<string, number>>
  return layers === layersOfLargest ? Math.floor(hidden! / heads!) : size ?? hidden! / heads!
}

export const gemma2: Architecture = {
  name: "gemma2", dense: "gemma2", interleaved: false, raised: true, alternatives: [], repeated,
  names: [...decoder, ["layers.{l}.attention.outputNorm", "blk.{l}.post_attention_norm.weight"], ["layers.{l}.feedForward.outputNorm", "blk.{l}.post_ffw_norm.weight"]],
  keys: { ...denseKeys, "attention.sliding_window": "sliding_window", "attn_logit_softcapping": "attn_logit_softcapping", "final_logit_softcapping": "final_logit_softcapping" },
  further: { keys: ["attention.sliding_window_pattern"], config: (reading) => ({ ...windows(reading), query_pre_attn_scalar: divisor(reading.config, 46) }) }
}

/** Without a window where no key says how wide it is; the layers with one have a theta of their own. */
export const gemma3: Architecture = {
  ...gemma2, name: "gemma3", dense: "gemma3_text", names: [...gemma2.names, ...norms],
  keys: { ...denseKeys, "attention.sliding_window": "sliding_window", "final_logit_softcapping": "final_logit_softcapping", "rope.freq_base_swa": "rope_local_base_freq" },
  further: { keys: ["attention.sliding_window_pattern"], config: (reading) => ({ sliding_window: reading.config["sliding_window"] ?? null, ...windows(reading), query_pre_attn_scalar: divisor(reading.config, 62) }) }
}
