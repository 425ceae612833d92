"""eval:patches' experiment written again in numpy, with data and initial weights of its own: an oracle for the table of docs/theory.md.

    python3 tools/parity/patches.py [SEEDS] [PATCHES,PATCHES...] [SAMPLES,SAMPLES...]
    python3 tools/parity/patches.py same FILE.json

The problem of Chowdhury et al., "Patch-level routing in mixture-of-experts is provably sample-efficient for convolutional neural networks", 2023,
on orthonormal patterns, where a product with a patch is a look-up of the pattern's weight, times its sign. Prints test accuracy in per cent, mean ± standard
deviation over seeds, for each method and number of training samples. The second form repeats trainings from what patches.ts wrote, the same samples,
first values and orders, and prints both programs' accuracies.
"""
import json
import statistics
import sys

import numpy as np

PATTERNS, KEPT, EXPERTS, FILTERS, RATE, BATCH, EPOCHS, TEST = 200, 2, 8, 5, 0.2, 20, 150, 1000


def draw(count, patches, generator):
    """Patterns [count, patches] and signs of patches, labels in {-1, 1}: patch 0 is the class's own, patterns 0 and 1 are the classes'."""
    label = np.where(generator.permutation(count) % 2 == 0, 1, -1)
    pattern = generator.integers(2, PATTERNS, (count, patches))
    sign = generator.choice([-1.0, 1.0], (count, patches))
    pattern[:, 0], sign[:, 0] = (label < 0).astype(int), 1
    return pattern, sign, label


class Network:
    """A convolution of 40 filters with fixed random output weights; with routers, the filters of expert s see only the patches that it chose."""

    def __init__(self, method, train, first):
        self.method = method
        self.filters, self.output, self.router = first["filters"].copy(), first["output"], None
        if method == "joint":
            self.router = first["router"].copy()
        if method == "separate":
            pattern, sign, label = train
            patches = pattern.shape[1]
            pair = first["pair"].copy()
            steps = 100 * -(-len(label) // BATCH)
            towards = np.zeros(PATTERNS)
            np.add.at(towards, pattern, sign * label[:, None])
            pair += RATE * steps * 16 / patches / len(label) * np.outer(towards, [1, -1])  # the gradient of -y f is the same at every step
            self.router = np.repeat(pair, EXPERTS // 2, axis=1)

    def forward(self, pattern, sign):
        inner = sign[:, :, None] * self.filters[pattern]
        bent = np.maximum(inner, 0)
        if self.router is None:
            return inner, bent, None, None, None, bent.mean(1) @ self.output
        scores = sign[:, :, None] * self.router[pattern]  # [samples, patches, experts]
        kept = np.argsort(-scores, axis=1, kind="stable")[:, :KEPT]  # [samples, kept, experts]
        chosen = np.take_along_axis(scores, kept, 1)
        if self.method == "joint":
            weight = np.exp(chosen - chosen.max(1, keepdims=True))
            weight /= weight.sum(1, keepdims=True)
        else:
            weight = np.ones_like(chosen)
        gate = np.zeros_like(scores)
        np.put_along_axis(gate, kept, weight, 1)
        spoken = (bent * self.output).reshape(*bent.shape[:2], EXPERTS, FILTERS).sum(3)  # [samples, patches, experts]
        return inner, bent, gate, kept, spoken, (gate * spoken).sum((1, 2)) / KEPT

    def step(self, pattern, sign, label):
        inner, _, gate, kept, spoken, f = self.forward(pattern, sign)
        back = -label / (1 + np.exp(label * f)) / len(label)
        wide = np.ones_like(inner) / pattern.shape[1] if gate is None else np.repeat(gate, FILTERS, axis=2) / KEPT
        gradient = np.zeros_like(self.filters)
        np.add.at(gradient, pattern, back[:, None, None] * wide * self.output * (inner > 0) * sign[:, :, None])
        if self.method == "joint":
            weight, said = np.take_along_axis(gate, kept, 1), np.take_along_axis(spoken, kept, 1) / KEPT
            toScore = back[:, None, None] * weight * (said - (weight * said).sum(1, keepdims=True))
            whole = np.zeros_like(gate)
            np.put_along_axis(whole, kept, toScore, 1)
            routerGradient = np.zeros_like(self.router)
            np.add.at(routerGradient, pattern, whole * sign[:, :, None])
            self.router -= RATE * routerGradient
        self.filters -= RATE * gradient

    def accuracy(self, pattern, sign, label):
        return 100 * np.mean(np.sign(self.forward(pattern, sign)[5]) == label)


def first_values(generator, deviation):
    normal = generator.standard_normal
    return {"filters": deviation * normal((PATTERNS, EXPERTS * FILTERS)), "output": normal(EXPERTS * FILTERS), "router": 1e-4 * normal((PATTERNS, EXPERTS)), "pair": 0.1 * normal((PATTERNS, 2))}


def trained(method, train, first, orders):
    network = Network(method, train, first)
    for order in orders:
        for at in range(0, len(order), BATCH):
            mine = order[at:at + BATCH]
            network.step(*(part[mine] for part in train))
    return network


def run(method, patches, samples, seed, deviation=0.01):
    generator = np.random.default_rng([seed, patches, samples])
    train, test = draw(samples, patches, generator), draw(TEST, patches, generator)
    return trained(method, train, first_values(generator, deviation), (generator.permutation(samples) for _ in range(EPOCHS))).accuracy(*test)


def same(file):
    with open(file) as opened:
        runs = json.load(opened)
    for one in runs:
        train, test = ((np.array(part["pattern"]).reshape(-1, one["patches"]), np.array(part["sign"], float).reshape(-1, one["patches"]), 2 * np.array(part["labels"]) - 1) for part in (one["train"], one["test"]))
        first = {name: np.array(values).reshape(shape) for (name, values), shape in zip(one["first"].items(), ((PATTERNS, -1), (-1,), (PATTERNS, EXPERTS), (PATTERNS, 2)))}
        accuracy = trained(one["method"], train, first, (np.array(order) for order in one["orders"])).accuracy(*test)
        print(f"{one['patches']} patches, {one['method']}, {len(train[2])} samples, seed {one['seed']}: {one['accuracy']:.1f}, here {accuracy:.1f}")


def main(seeds=3, patches=(16, 64), samples=(20, 40, 80, 160, 320), deviation=0.01):
    for n in patches:
        for method in ("convolution", "joint", "separate"):
            for count in samples:
                found = [run(method, n, count, seed, deviation) for seed in range(seeds)]
                print(f"{n} patches, {method}, {count} samples: {statistics.mean(found):.1f} ± {statistics.stdev(found) if seeds > 1 else 0:.1f}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["same"]:
        same(sys.argv[2])
        sys.exit()
    numbers = [tuple(map(int, argument.split(","))) for argument in sys.argv[2:4]]
    main(*map(int, sys.argv[1:2]), *numbers, *map(float, sys.argv[4:5]))
