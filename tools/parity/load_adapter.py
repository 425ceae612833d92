"""Opens bases with transformers and our adapters with peft, and compares the logits with ours: adapter.ts says how to make the folder."""
import json
import pathlib
import sys

import peft
import torch
import transformers

print(f"peft {peft.__version__}, transformers {transformers.__version__}, torch {torch.__version__}")
for folder in sorted(path.parent for path in pathlib.Path(sys.argv[1]).glob("*/expected.json")):
    expected = json.loads((folder / "expected.json").read_text())
    base = transformers.AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float32)
    ids = torch.tensor([expected["ids"]])
    with torch.no_grad():
        without = base(ids).logits[0]
        model = peft.PeftModel.from_pretrained(base, folder / "adapter")
        active = [name for name, _ in model.named_parameters() if "lora_" in name]
        logits = model(ids).logits[0]
    ours = torch.tensor(expected["logits"]).reshape(logits.shape)
    difference, change = (logits - ours).abs().max().item(), (logits - without).abs().max().item()
    print(f"{folder.name}: {len(active)} adapter tensors; the adapter changes logits by up to {change:.3f}; peft and Switchyard differ by {difference:.2e} (largest logit {logits.abs().max().item():.2f})")
    assert change > 0.1 and difference < 1e-4
