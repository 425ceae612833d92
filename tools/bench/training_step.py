"""The training step of tools/bench/trainingStep.ts in PyTorch: the same model, batch, optimizer and losses' scale. Prints tokens per second, one line a run."""
import argparse, json, time
import torch
import torch.nn.functional as F

parser = argparse.ArgumentParser()
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--runs", type=int, default=5)
parser.add_argument("--steps", type=int, default=5)
parser.add_argument("--batch", type=int, default=16)
parser.add_argument("--tokens", type=int, default=256)
a = parser.parse_args()
torch.set_num_threads(a.threads)
torch.manual_seed(0)
hidden, inner, layers, heads, vocabulary, head = 128, 384, 4, 8, 260, 16

def matrix(rows, columns):
    return (torch.randn(rows, columns) * 0.02).requires_grad_()

embedding = matrix(vocabulary, hidden)
blocks = [dict(q=matrix(hidden, hidden), k=matrix(hidden, hidden), v=matrix(hidden, hidden), o=matrix(hidden, hidden),
               gate=matrix(inner, hidden), up=matrix(inner, hidden), down=matrix(hidden, inner),
               n1=torch.ones(hidden, requires_grad=True), n2=torch.ones(hidden, requires_grad=True)) for _ in range(layers)]
norm = torch.ones(hidden, requires_grad=True)
parameters = [embedding, norm] + [p for b in blocks for p in b.values()]
angles = torch.arange(a.tokens)[:, None] * 10000.0 ** (-torch.arange(0, head, 2) / head)
cos, sin = angles.cos(), angles.sin()

def rope(x):
    first, second = x[..., : head // 2], x[..., head // 2 :]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)

def forward(ids):
    x = embedding[ids]
    for b in blocks:
        y = F.rms_norm(x, (hidden,), b["n1"], 1e-5)
        split = lambda w: (y @ w.T).view(a.batch, a.tokens, heads, head).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(rope(split(b["q"])), rope(split(b["k"])), split(b["v"]), is_causal=True)
        x = x + mixed.transpose(1, 2).reshape(a.batch, a.tokens, hidden) @ b["o"].T
        y = F.rms_norm(x, (hidden,), b["n2"], 1e-5)
        x = x + (F.silu(y @ b["gate"].T) * (y @ b["up"].T)) @ b["down"].T
    return F.rms_norm(x, (hidden,), norm, 1e-5) @ embedding.T

optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.1, fused=True)
ids = torch.randint(0, 256, (a.batch, a.tokens))
targets = torch.randint(0, 256, (a.batch, a.tokens))

def step():
    optimizer.zero_grad()
    loss = F.cross_entropy(forward(ids).view(-1, vocabulary), targets.view(-1))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    return loss.item()

for _ in range(3):
    step()
for _ in range(a.runs):
    begin, processor = time.perf_counter(), time.process_time()
    for _ in range(a.steps):
        loss = step()
    print(json.dumps({"tokensPerSecond": a.steps * a.batch * a.tokens / (time.perf_counter() - begin),
                      "tokensPerProcessorSecond": a.steps * a.batch * a.tokens / (time.process_time() - processor), "loss": loss}), flush=True)
