"""Asks lm-evaluation-harness's own model class what `switchyard-eval --log_samples` asked ours, and compares.

    npx switchyard-eval --model DIR --tasks arc_challenge,piqa --data DATA --output_path OUT --log_samples
    python3 tools/parity/lm_eval_requests.py DIR OUT/<model> [--exact]

DIR may be a GGUF file, which transformers dequantises. The harness feeds as many tokens at once as our results say (`--max_length`).

The last samples of each task are read. Prints, for each task: requests, the largest difference of a log-likelihood in nats and in parts of the bound (1e-3 nats or 1e-5 of it,
whichever is larger), greedy answers that differ, documents whose accuracy differs, and how many of those are near-ties (their two best choices within 2e-3 nats).
Of whole texts also both byte perplexities. `--exact` asks a third time, the same weights in float64 with sums in float64, and prints how far from that each of the two is.
Exit code 1 where the bound is passed (with `--exact`, between ours and the float64 answer too) or an accuracy differs without a near-tie.
"""
import json
import math
import os
import pathlib
import sys

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", LMEVAL_LOG_LEVEL="ERROR")
import torch
from lm_eval import __version__
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, AutoTokenizer

torch.set_num_threads(1)
folder, samples, exact = sys.argv[1], pathlib.Path(sys.argv[2]), "--exact" in sys.argv[3:]
results = max(samples.glob("results_*.json"), key=lambda path: path.name)
where = dict(pretrained=folder)
if folder.endswith(".gguf"):
    at, name = os.path.split(folder)
    where = dict(pretrained=AutoModelForCausalLM.from_pretrained(at, gguf_file=name, dtype=torch.float32), tokenizer=AutoTokenizer.from_pretrained(at, gguf_file=name))
model = HFLM(**where, device="cpu", dtype="float32", batch_size=1 if folder.endswith(".gguf") else 16, max_length=json.loads(results.read_text())["max_length"])
latest = {path.name.rsplit("_", 1)[0]: path for path in sorted(samples.glob("samples_*.jsonl"), key=lambda path: path.name)}
bounded = lambda a, b: abs(a - b) / max(1e-3, 1e-5 * abs(a))
failed = False
for task, path in latest.items():
    rows = [json.loads(line) for line in path.read_text().split("\n") if line]
    rolling = "arg_1" not in rows[0]["arguments"]["gen_args_0"]
    kind = "loglikelihood_rolling" if rolling else "loglikelihood"
    asked = [(row, tuple(args.values())) for row in rows for args in row["arguments"].values()]
    answers = getattr(model, kind)([Instance(kind, row["doc"], args, 0) for row, args in asked], disable_tqdm=True)
    given = [answer for row in rows for answer in row["filtered_resps"]]
    worst = relative = greedy = wrong = ties = at = 0
    for theirs, ours in zip(answers, given):
        a, b = (theirs, float(ours)) if rolling else (theirs[0], float(ours[0]))
        worst, relative = max(worst, abs(a - b)), max(relative, bounded(a, b))
        greedy += not rolling and str(theirs[1]) != ours[1]
    for row in rows:
        count = len(row["arguments"])
        if not rolling and count > 1 and "acc" in row:
            theirs, ours = [a[0] for a in answers[at : at + count]], [float(a[0]) for a in given[at : at + count]]
            if theirs.index(max(theirs)) != ours.index(max(ours)):
                wrong += 1
                ties += sorted(theirs)[-1] - sorted(theirs)[-2] < 2e-3
        at += count
    failed |= relative > 1 or wrong > ties
    if exact:  # the harness's log_softmax works in the dtype of the logits, and its sums too
        model.model.to(torch.float64)
        truth = getattr(model, kind)([Instance(kind, row["doc"], args, 0) for row, args in asked], disable_tqdm=True)
        model.model.to(torch.float32)
        triples = [(t, a, float(b)) if rolling else (t[0], a[0], float(b[0])) for t, a, b in zip(truth, answers, given)]
        away = [max((abs(triple[at] - triple[0]), abs(triple[at] / triple[0] - 1)) for triple in triples) for at in (1, 2)]
        print(f"{task[8:]}: from float64 the harness is at most {away[0][0]:.2e} nats ({away[0][1]:.2e}) away, Switchyard {away[1][0]:.2e} ({away[1][1]:.2e})")
        failed |= any(bounded(truth, ours) > 1 for truth, _, ours in triples)
    if rolling:  # [log-likelihood, bytes] of each text
        size = sum(row["byte_perplexity"][1] for row in rows)
        theirs, ours = (math.exp(-sum(of) / size) for of in (answers, map(float, given)))
        print(f"{task[8:]}: byte perplexity over {size} bytes: harness {theirs:.6f}, Switchyard {ours:.6f}, relative difference {abs(theirs - ours) / theirs:.2e}")
    print(f"{task[8:]}: {len(answers)} requests, largest difference {worst:.2e} nats, {relative:.3f} of the bound; greedy differs {greedy}; best choice differs {wrong}, of them near-ties {ties}")
print("lm-eval", __version__, "torch", torch.__version__)
sys.exit(int(failed))
