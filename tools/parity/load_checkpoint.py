"""Loads a checkpoint folder with transformers: no key may be missing, unexpected or misshapen, and given logits must agree.

    python3 tools/parity/load_checkpoint.py FOLDER [--logits FILE] [--tolerance 1e-4] [--save FOLDER] [--save-fused FOLDER]

FILE is JSON: {"ids": [...], "logits": [[...], ...]} with one row of logits per id, or fewer: the last rows, the first columns.
--save writes the model again in transformers' original layout, --save-fused with the experts fused as transformers 5 has them in memory.
"""
import argparse, json, sys
import torch, transformers

arguments = argparse.ArgumentParser()
arguments.add_argument("folder")
arguments.add_argument("--logits")
arguments.add_argument("--tolerance", type=float, default=1e-4)
arguments.add_argument("--save")
arguments.add_argument("--save-fused")
given = arguments.parse_args()

model, info = transformers.AutoModelForCausalLM.from_pretrained(given.folder, output_loading_info=True, dtype="auto")
tokenizer = transformers.AutoTokenizer.from_pretrained(given.folder)
faults = {name: sorted(map(str, keys)) for name, keys in info.items() if keys}
report = {"transformers": transformers.__version__, "class": type(model).__name__, "dtype": str(model.dtype), "parameters": model.num_parameters(), "tokenizer": len(tokenizer), "faults": faults}
if given.logits:
    with open(given.logits) as file:
        expected = json.load(file)
    with torch.no_grad():
        logits = model(torch.tensor([expected["ids"]])).logits[0].float()
    rows = torch.tensor(expected["logits"])
    report["largest_logit_difference"] = (logits[-rows.shape[0]:, :rows.shape[1]] - rows).abs().max().item()
    if report["largest_logit_difference"] > given.tolerance:
        faults["logits"] = [f"differ by {report['largest_logit_difference']}"]
if given.save:
    model.save_pretrained(given.save)
    tokenizer.save_pretrained(given.save)
if given.save_fused:
    model.save_pretrained(given.save_fused, save_original_format=False)
    tokenizer.save_pretrained(given.save_fused)
print(json.dumps(report, indent=1))
sys.exit(1 if faults else 0)
