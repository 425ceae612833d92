"""eval:theory's experiment written again in PyTorch, with data, initial weights and noise of its own: an oracle for the table of docs/theory.md.

    python3 tools/parity/theory.py [SEEDS] [STEPS]
    python3 tools/parity/theory.py same FOLDER

Setting S1 of Chen et al., "Towards understanding the mixture-of-experts layer in deep learning", 2022: four clusters, four patches of fifty numbers.
Prints one line per model: test accuracy in per cent and dispatch entropy in nats, mean ± standard deviation over seeds.
The second form repeats one training from what theory.ts wrote, the same data, first filters and noise, and prints how far loss and entropy come apart.
"""
import json
import statistics
import sys

import numpy
import torch
from torch.nn.functional import cross_entropy

CLUSTERS, PATCHES, WIDTH, EXPERTS, FILTERS, EXAMPLES = 4, 4, 50, 8, 8, 16000


def draw(directions, count, generator):
    """Patches [count, patches, width], labels [count] in {0, 1}, clusters [count]."""
    def uniform(low, high):
        return low + (high - low) * torch.rand(count, generator=generator)

    def sign():
        return 2 * torch.randint(2, (count,), generator=generator) - 1

    label, cluster, noise_sign = sign(), torch.randint(CLUSTERS, (count,), generator=generator), sign()
    other = (cluster + torch.randint(1, CLUSTERS, (count,), generator=generator)) % CLUSTERS
    features, centres = directions[:CLUSTERS], directions[CLUSTERS:]
    patches = torch.stack([
        (label * uniform(0.5, 2))[:, None] * features[cluster],
        uniform(1, 2)[:, None] * centres[cluster],
        (noise_sign * uniform(0.5, 3))[:, None] * features[other],
        torch.randn(count, WIDTH, generator=generator) / WIDTH ** 0.5,
    ], dim=1)
    order = torch.argsort(torch.rand(count, PATCHES, generator=generator), dim=1)
    return 10 * torch.gather(patches, 1, order[:, :, None].expand(-1, -1, WIDTH)), (label > 0).long(), cluster


def convolution(filters, scale, generator):
    """torch.nn.Conv1d's own initialisation, scaled: weight [filters, width], bias [filters]."""
    def uniform(*shape):
        return scale * (2 * torch.rand(*shape, generator=generator) - 1) / WIDTH ** 0.5
    return uniform(filters, WIDTH).requires_grad_(), uniform(filters).requires_grad_()


def responses(x, weight, bias, cubic):
    """Sum over patches and each class's filters: [count, 2]."""
    inner = x @ weight.T + bias
    inner = inner ** 3 if cubic else inner
    return inner.sum(1).view(len(x), 2, -1).sum(2)


def dispatch_entropy(expert, cluster):
    counts = torch.zeros(EXPERTS, CLUSTERS).index_put_((expert, cluster), torch.ones(len(expert)), accumulate=True)
    load = counts.sum(1)
    shares = counts / load.clamp(min=1)[:, None]
    return float((load / load.sum() * -(shares * shares.clamp(min=1e-30).log()).sum(1)).sum())


def route(x, experts, router, noise, cubic, gate):
    """What the experts chosen under this noise say [count, 2], through the gate, and who was chosen."""
    scores = x.sum(1) @ router.T
    noised = scores if noise is None else scores + noise
    expert = noised.detach().argmax(1)
    weight = (noised if gate == "released" else scores.softmax(1)).gather(1, expert[:, None])
    output = torch.zeros(len(x), 2)
    for at, (filters, bias) in enumerate(experts):
        mine = (expert == at).nonzero()[:, 0]
        if len(mine) > 0:
            output = output.index_add(0, mine, responses(x[mine], filters, bias, cubic))
    output = weight * output
    return output.softmax(1) if gate == "released" else output, expert


def descend(loss, experts, router):
    """The router along its gradient, every expert along its own over its norm."""
    parameters = [router, *(tensor for pair in experts for tensor in pair)]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    with torch.no_grad():
        router -= 0.1 * gradients[0]
        for at, pair in enumerate(experts):
            mine = [torch.zeros_like(p) if g is None else g for p, g in zip(pair, gradients[1 + 2 * at:3 + 2 * at])]
            norm = sum(g.norm() for g in mine)
            if norm > 0:
                for p, g in zip(pair, mine):
                    p -= 1e-3 * g / norm


def mixture(train, test, cubic, gate, steps, generator):
    experts = [convolution(2 * FILTERS, 1e-3, generator) for _ in range(EXPERTS)]
    router = torch.zeros(EXPERTS, WIDTH, requires_grad=True)

    def noise(x):
        return torch.rand(len(x), EXPERTS, generator=generator)

    least = float("inf")
    for _ in range(steps):
        output, expert = route(train[0], experts, router, noise(train[0]), cubic, gate)
        loss = cross_entropy(output, train[1])
        if gate == "released":
            if loss.item() <= least:
                least = loss.item()
            elif loss.item() > least + 0.02 or loss.item() <= 0.314:
                break
        descend(loss, experts, router)
    with torch.no_grad():
        output, _ = route(test[0], experts, router, noise(test[0]) if gate == "released" else None, cubic, gate)
        return 100 * (output.argmax(1) == test[1]).float().mean().item(), dispatch_entropy(expert, train[2])


def same(folder):
    def read(name, kind, *shape):
        return torch.from_numpy(numpy.fromfile(f"{folder}/{name}", dtype=kind).reshape(shape or -1).astype(numpy.float32 if kind == numpy.float32 else numpy.int64))

    with open(f"{folder}/run.json") as opened:
        run = json.load(opened)
    x, labels, clusters = read("patches", numpy.float32, -1, PATCHES, WIDTH), read("labels", numpy.uint32), read("clusters", numpy.uint8)
    first = read("filters", numpy.float32, EXPERTS, 2 * FILTERS, WIDTH + 1)
    experts = [(one[:, :WIDTH].clone().requires_grad_(), one[:, WIDTH].clone().requires_grad_()) for one in first]
    router, worst = torch.zeros(EXPERTS, WIDTH, requires_grad=True), [0.0, 0.0]
    points = {point["step"]: point for point in run["curve"]}
    for step in range(max(points) + 1):
        output, expert = route(x, experts, router, read(f"noise-{step}", numpy.float32, -1, EXPERTS), run["activation"] == "cubic", run["gate"])
        loss = cross_entropy(output, labels)
        if step in points:
            found = abs(loss.item() - points[step]["loss"]), abs(dispatch_entropy(expert, clusters) - points[step]["entropy"])
            worst = [max(pair) for pair in zip(worst, found)]
        descend(loss, experts, router)
    print(f"{len(points)} points over {max(points)} steps: losses within {worst[0]:.1e}, entropies within {worst[1]:.1e} (at the end {loss.item():.4f} and {dispatch_entropy(expert, clusters):.4f})")


def single(train, test, cubic, steps, generator):
    weight, bias = convolution(80, 1, generator)
    optimizer = torch.optim.Adam([weight, bias], lr=0.01 if cubic else 0.003, weight_decay=5e-4)
    least = float("inf")
    for step in range(steps):
        loss = cross_entropy(responses(train[0], weight, bias, cubic), train[1])
        if loss.item() <= least:
            least = loss.item()
        elif step > 500 and loss.item() > least + 0.02:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return 100 * (responses(test[0], weight, bias, cubic).argmax(1) == test[1]).float().mean().item(), float("nan")


def main(seeds=3, steps=None):
    found = {}
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(seed)
        directions = torch.linalg.qr(torch.randn(WIDTH, 2 * CLUSTERS, generator=generator))[0].T
        train, test = draw(directions, EXAMPLES, generator), draw(directions, EXAMPLES, generator)
        runs = {f"mixture, {kind}, {gate} gate": (mixture, kind == "cubic", gate, steps or 501) for gate in ("softmax", "released") for kind in ("cubic", "linear")}
        runs |= {f"single, {kind}": (single, kind == "cubic", steps or 801) for kind in ("cubic", "linear")}
        for name, (run, *options) in runs.items():
            found.setdefault(name, []).append(run(train, test, *options, generator))
            print(seed, name, found[name][-1], file=sys.stderr, flush=True)
    for name, values in found.items():
        accuracy, entropy = ([value[at] for value in values] for at in (0, 1))
        spread = statistics.stdev if seeds > 1 else lambda _: 0.0
        print(f"{name}: accuracy {statistics.mean(accuracy):.2f} ± {spread(accuracy):.2f}" + ("" if entropy[0] != entropy[0] else f", entropy {statistics.mean(entropy):.3f} ± {spread(entropy):.3f}"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["same"]:
        same(sys.argv[2])
    else:
        main(*map(int, sys.argv[1:]))
