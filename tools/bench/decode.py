"""Prompt and decoding time of a random Llama in transformers on the processor, for eval:bench and tools/bench/decode.ts: gets {threads, sizes} on the command line; each line it reads, {prompt, tokens}, is answered by milliseconds."""
import json
import sys
import time

import torch
import transformers

given = json.loads(sys.argv[1])
torch.set_num_threads(given["threads"])
s = given["sizes"]
config = transformers.LlamaConfig(vocab_size=s["vocabulary"], hidden_size=s["hidden"], intermediate_size=s["inner"], num_hidden_layers=s["layers"], num_attention_heads=s["heads"], num_key_value_heads=s["keyValueHeads"],
                                  head_dim=s["headSize"], max_position_embeddings=2048, tie_word_embeddings=True)
model = transformers.LlamaForCausalLM(config).eval()
print(json.dumps(dict(version=f"transformers {transformers.__version__}, torch {torch.__version__}")), flush=True)
for line in sys.stdin:  # one measurement for each line, so that ours and theirs take turns
    asked = json.loads(line)
    ids = torch.arange(asked["prompt"])[None] % s["vocabulary"]
    with torch.no_grad():
        began = time.perf_counter()
        out = model(ids, use_cache=True, logits_to_keep=1)
        prompt = time.perf_counter() - began
        times = []
        for _ in range(asked["tokens"]):
            began = time.perf_counter()
            out = model(out.logits[:, -1:].argmax(-1), past_key_values=out.past_key_values, use_cache=True)
            times.append(time.perf_counter() - began)
    print(json.dumps(dict(prompt=1000 * prompt, tokens=[1000 * t for t in times])), flush=True)
