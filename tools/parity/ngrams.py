"""The posterior of an expert given the text so far, by interpolated n-grams without hashing, in numpy; compared with what the router chose (see ngrams.ts)."""
import json, math, sys
from collections import defaultdict
import numpy as np

given = json.load(open(sys.argv[1]))
names, orders, strength, vocabulary = given["names"], given["orders"], given["strength"], given["vocabulary"]

def counts(sequences):
    grams, contexts = defaultdict(int), defaultdict(int)
    for ids in sequences:
        for at in range(len(ids)):
            for order in range(1, min(orders, at + 1) + 1):
                gram = tuple(ids[at - order + 1:at + 1])
                grams[gram] += 1
                contexts[gram[:-1]] += 1
    return grams, contexts

models = [counts(sequences) for sequences in given["train"]]

def probability(model, gram):
    """p(last | the others): each order leans on the one below."""
    grams, contexts = model
    below = 1 / vocabulary if len(gram) == 1 else probability(model, gram[1:])
    return (grams.get(gram, 0) + strength * below) / (contexts.get(gram[:-1], 0) + strength)

edges = [0, 4, 8, 16, 32, 64, 128, 256]
right, theirs, same, seen = (np.zeros((len(names), 256)) for _ in range(4))
for domain, windows in enumerate(given["tests"]):
    for window in windows:
        ids, total = window["ids"], np.zeros(len(names))
        for at, chosen in enumerate(window["chosen"]):
            gram = tuple(ids[max(0, at - orders + 1):at + 1])
            total += [math.log(probability(model, gram)) for model in models]
            best = int(total.argmax())
            seen[domain, at] += 1
            right[domain, at] += best == domain
            theirs[domain, at] += chosen == domain
            same[domain, at] += best == chosen
bins = lambda values: " ".join(f"{(values[:, a:b].sum(1) / seen[:, a:b].sum(1)).mean():.3f}" for a, b in zip(edges, edges[1:]))
print("positions below          ", " ".join(f"{edge:5d}" for edge in edges[1:]))
print("numpy, right             ", bins(right))
print("the router's table, right", bins(theirs))
print("the same choice          ", bins(same))
overall = same.sum() / seen.sum()
print(f"the same choice at {overall:.4f} of {int(seen.sum())} positions")
sys.exit(0 if overall > 0.97 else 1)
