"""Opens what a quickstart exported with the tools it is meant for, and compares with Switchyard: quickstart.ts says how to make EXPECTED.json.

    python3 tools/parity/quickstart.py OUT EXPECTED.json

transformers must find no tensor missing, unexpected or misshapen in seed, mixture and compressed, our tokenizer must give the same ids, and the
logits must agree within 1e-4; peft must give the folded expert's logits for each adapter on top of the seed; pyarrow must read the tables.
"""
import json
import os
import sys

import peft
import pyarrow
import torch
import transformers

from read_tables import read

folder, file = sys.argv[1:]
with open(file) as opened:
    expected = json.load(opened)
ids = torch.tensor([expected["ids"]])
faults = []


def compare(name, logits, ours):
    ours = torch.tensor(ours).reshape(logits.shape)
    difference = (logits - ours).abs().max().item()
    if not difference < 1e-4:
        faults.append(f"{name}: logits differ by {difference}")
    return f"largest difference {difference:.2e} of a largest logit of {ours.abs().max().item():.2f}"


print(f"transformers {transformers.__version__}, peft {peft.__version__}, torch {torch.__version__}, pyarrow {pyarrow.__version__}; {ids.shape[1]} tokens")
with torch.no_grad():
    for name, ours in expected["models"].items():
        model, info = transformers.AutoModelForCausalLM.from_pretrained(os.path.join(folder, name), dtype=torch.float32, output_loading_info=True)
        faults += [f"{name}: {kind}: {sorted(map(str, keys))}" for kind, keys in info.items() if keys]
        tokenizer = transformers.AutoTokenizer.from_pretrained(os.path.join(folder, name))
        encoded = tokenizer(expected["text"], add_special_tokens=False)["input_ids"]
        if encoded[:ids.shape[1] - 1] != expected["ids"][1:]:
            faults.append(f"{name}: the tokenizer gives other ids")
        print(f"{name}: {type(model).__name__}, {model.num_parameters()} parameters; {compare(name, model(ids).logits[0], ours)}")
    for domain, ours in expected["experts"].items():
        base = transformers.AutoModelForCausalLM.from_pretrained(os.path.join(folder, "seed"), dtype=torch.float32)
        without = base(ids).logits[0]
        adapter = os.path.join(folder, "experts", domain)
        model = peft.PeftModel.from_pretrained(base, adapter)
        layers = base.config.num_hidden_layers
        found = [key for key, _ in model.named_parameters() if "lora_" in key]
        if len(found) != 6 * layers:
            faults.append(f"expert {domain}: {len(found)} adapter tensors, expected {6 * layers}")
        settings = peft.PeftConfig.from_pretrained(adapter)
        if not os.path.samefile(os.path.join(adapter, settings.base_model_name_or_path), os.path.join(folder, "seed")):
            faults.append(f"expert {domain}: its base is {settings.base_model_name_or_path}")
        logits = model(ids).logits[0]
        print(f"expert {domain}: {len(found)} tensors, changes logits by up to {(logits - without).abs().max().item():.3f}; {compare(domain, logits, ours)}")
for name in ["trace.arrow", "results.arrow"]:
    table = read(os.path.join(folder, name))
    if table.num_rows == 0:
        faults.append(f"{name}: no rows")
trace = read(os.path.join(folder, "trace.arrow")).to_pydict()
sums = {}
for domain, document, position, layer, weight in zip(*(trace[name] for name in ["domain", "document", "position", "layer", "weight"])):
    sums[domain, document, position, layer] = sums.get((domain, document, position, layer), 0) + weight
off = max(abs(total - 1) for total in sums.values())
print(f"trace: {len(sums)} decisions, weights add to one within {off:.1e}")
if not off < 1e-5:
    faults.append(f"trace: weights add to one only within {off}")
for fault in faults:
    print("FAULT", fault)
sys.exit(1 if faults else 0)
