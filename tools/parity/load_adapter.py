"""Opens a base with transformers and our adapter with peft, and compares the logits with ours: adapter.ts says how to make the folder."""
import json
import sys

import peft
import torch
import transformers

folder = sys.argv[1]
expected = json.load(open(f"{folder}/expected.json"))
base = transformers.AutoModelForCausalLM.from_pretrained(f"{folder}/base", dtype=torch.float32)
ids = torch.tensor([expected["ids"]])
with torch.no_grad():
    without = base(ids).logits[0]
    model = peft.PeftModel.from_pretrained(base, f"{folder}/adapter")
    active = [name for name, _ in model.named_parameters() if "lora_" in name]
    logits = model(ids).logits[0]
ours = torch.tensor(expected["logits"]).reshape(logits.shape)
difference, change = (logits - ours).abs().max().item(), (logits - without).abs().max().item()
print(f"peft {peft.__version__}, transformers {transformers.__version__}, torch {torch.__version__}: {len(active)} adapter tensors; "
      f"the adapter changes logits by up to {change:.3f}; peft and Switchyard differ by {difference:.2e} (largest logit {logits.abs().max().item():.2f})")
assert len(active) == 12 and change > 0.1 and difference < 1e-4
