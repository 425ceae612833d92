"""Asks the reference implementation about the files of safetensors_verdicts.ts: whatever it refuses, we must refuse.

    python3 tools/parity/safetensors_verdicts.py verdicts.json

What only we refuse is counted by our reason: duplicate keys, unknown keys and the like, which the reference reads in silence.
"""
import base64, collections, json, sys
import safetensors

with open(sys.argv[1]) as file:
    cases = json.load(file)
seen, stricter, wrong = collections.Counter(), collections.Counter(), []
for case in cases:
    data = base64.b64decode(case["file"])
    try:
        safetensors.deserialize(data)
        reference = "ok"
    except Exception as error:
        reference = str(error)
    ours = case["verdict"]
    seen["both accept" if reference == ours == "ok" else "both refuse" if reference != "ok" and ours != "ok" else "only we refuse" if reference == "ok" else "only the reference refuses"] += 1
    if reference == "ok" and ours != "ok":
        stricter[ours] += 1
    if reference != "ok" and ours == "ok":
        wrong.append((reference, data))
print(json.dumps({"safetensors": safetensors.__version__, "seen": seen, "only we refuse": stricter}, indent=1))
for reference, data in wrong[:10]:
    print(reference, data)
sys.exit(1 if wrong else 0)
