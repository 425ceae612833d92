"""Model families as transformers computes them, in both directions.

    python3 tools/parity/families.py [NAME …]        makes packages/routing/src/fixtures/families: tiny random models, saved as transformers saves them
    python3 tools/parity/families.py --back FOLDER   loads what tools/parity/families.ts wrote there: no key missing, unexpected or misshapen, the same logits
                                                     (--transformers 4: in 4.57, in an environment that is made for it)
    python3 tools/parity/families.py --compare       everything: makes the models again (the committed ones must come out), runs our decoder against them, writes them and
                                                     loads them in transformers 4.57 and 5 (--transformers 4 or 5: in one)

Of each model: model.safetensors and config.json, with some also fused/ (experts as transformers 5 has them in memory), and expected.json: prompts of
several lengths, logits [tokens, vocabulary] of each, hidden states after every block [tokens, hidden], and of a mixture what each layer's router chose
[tokens, active] and how it weighed them. Computed in float64 from the stored float32 weights, without padding: one prompt at a time. `version` is transformers'.
"""
import argparse, json, os, pathlib, shutil, subprocess, sys, tempfile

import torch
import transformers
from safetensors.torch import load_file, save_file

OUT = pathlib.Path(__file__).parents[2] / "packages/routing/src/fixtures/families"
LENGTHS = (1, 5, 11)
TINY = dict(vocab_size=24, hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=32, rms_norm_eps=1e-5,
            bos_token_id=None, eos_token_id=None, pad_token_id=None)
MIXTURE = TINY | dict(num_experts=4, num_experts_per_tok=2)
EXPERT = MIXTURE | dict(moe_intermediate_size=12, head_dim=4)
PLAIN = dict(rope_type="default", rope_theta=10000.0)
# waves of 5.1, 1.6, 0.5 and 0.2 turns in the original context: kept, interpolated, divided, divided
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, beta_fast=4.0, beta_slow=1.0, original_max_position_embeddings=8)
LONGROPE = dict(rope_type="longrope", rope_theta=10000.0, short_factor=[1.0, 1.3, 1.9], long_factor=[1.1, 2.0, 3.5])
PHI3 = TINY | dict(num_attention_heads=2, num_key_value_heads=1, hidden_size=16)
GEMMA = TINY | dict(num_hidden_layers=3, head_dim=6, query_pre_attn_scalar=9, sliding_window=4, tie_word_embeddings=True)
GPT_OSS = {k: v for k, v in MIXTURE.items() if k != "num_experts"} | dict(num_local_experts=4, head_dim=6, intermediate_size=12, sliding_window=4)
DEEPSEEK = TINY | dict(num_attention_heads=2, num_key_value_heads=2, num_hidden_layers=3, first_k_dense_replace=1, n_routed_experts=8, n_shared_experts=2, num_experts_per_tok=2, moe_intermediate_size=6,
                       kv_lora_rank=10, qk_nope_head_dim=6, qk_rope_head_dim=4, v_head_dim=8)
LLAMA3 = dict(rope_type="llama3", rope_theta=100.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)

# name → transformers' prefix, what differs from PLAIN
MODELS = {
    "llama": ("Llama", TINY | dict(tie_word_embeddings=True)),
    "llama-linear": ("Llama", TINY | dict(rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0))),
    "llama-llama3": ("Llama", TINY | dict(head_dim=8, max_position_embeddings=64, rope_parameters=LLAMA3)),
    "mistral": ("Mistral", TINY | dict(head_dim=4, sliding_window=4)),
    "mistral-plain": ("Mistral", TINY | dict(head_dim=6, sliding_window=None)),
    "qwen2": ("Qwen2", TINY | dict(tie_word_embeddings=True)),
    "qwen2-window": ("Qwen2", TINY | dict(use_sliding_window=True, sliding_window=3, max_window_layers=0)),
    "qwen3": ("Qwen3", TINY | dict(head_dim=8)),
    "smollm3": ("SmolLM3", TINY | dict(num_hidden_layers=4, hidden_size=8, intermediate_size=12, no_rope_layers=[1, 0, 1, 0])),
    "llama-yarn": ("Llama", TINY | dict(head_dim=8, rope_parameters=YARN)),
    "qwen3-yarn": ("Qwen3", TINY | dict(head_dim=12, rope_parameters=YARN | dict(truncate=False, mscale=0.7, mscale_all_dim=0.4))),
    "qwen2-layers": ("Qwen2", TINY | dict(num_hidden_layers=3, use_sliding_window=True, sliding_window=3, max_window_layers=1)),
    "phi3": ("Phi3", PHI3 | dict(sliding_window=5, rope_parameters=PLAIN | dict(partial_rotary_factor=0.5))),
    "phi3-short": ("Phi3", PHI3 | dict(original_max_position_embeddings=16, rope_parameters=LONGROPE | dict(partial_rotary_factor=0.75))),
    "phi3-long": ("Phi3", PHI3 | dict(original_max_position_embeddings=4, rope_parameters=LONGROPE | dict(partial_rotary_factor=0.75))),
    "gemma2": ("Gemma2", GEMMA | dict(attn_logit_softcapping=3.0, final_logit_softcapping=5.0)),
    "gemma3": ("Gemma3", GEMMA | dict(layer_types=["sliding_attention", "full_attention", "sliding_attention"],
                                      rope_parameters=dict(full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1000000.0), sliding_attention=PLAIN))),
    "mixtral": ("Mixtral", {k: v for k, v in MIXTURE.items() if k != "num_experts"} | dict(num_local_experts=4, head_dim=4, intermediate_size=12, sliding_window=6)),
    "olmoe": ("Olmoe", MIXTURE | dict(intermediate_size=12)),
    "olmoe-renormalised": ("Olmoe", MIXTURE | dict(intermediate_size=12, norm_topk_prob=True)),
    "qwen2-moe": ("Qwen2Moe", EXPERT | dict(shared_expert_intermediate_size=10)),
    "qwen3-moe": ("Qwen3Moe", EXPERT | dict(norm_topk_prob=True, head_dim=8)),
    "deepseek-v2-lite": ("DeepseekV2", DEEPSEEK | dict(q_lora_rank=None, topk_method="greedy", n_group=1, topk_group=1, rope_parameters=YARN | dict(mscale=0.707, mscale_all_dim=0.707))),
    "deepseek-v2": ("DeepseekV2", DEEPSEEK | dict(q_lora_rank=7, topk_method="group_limited_greedy", n_group=4, topk_group=2, routed_scaling_factor=1.5)),
    "deepseek-v3": ("DeepseekV3", DEEPSEEK | dict(q_lora_rank=7, n_group=4, topk_group=2, num_nextn_predict_layers=0, rope_parameters=YARN | dict(mscale=1.0, mscale_all_dim=0.8))),
    "deepseek-v3-halves": ("DeepseekV3", DEEPSEEK | dict(q_lora_rank=None, n_group=1, topk_group=1, first_k_dense_replace=0, num_hidden_layers=1, rope_interleave=False, norm_topk_prob=False, num_nextn_predict_layers=0)),
    "gpt-oss": ("GptOss", GPT_OSS | dict(rope_parameters=YARN | dict(truncate=False))),
    "gpt-oss-plain": ("GptOss", GPT_OSS | dict(num_hidden_layers=1, num_experts_per_tok=1, attention_bias=False, swiglu_limit=1.5, swiglu_alpha=1.25)),
}
# what transformers 4 computes differently
NEW = {"gpt-oss-plain": "gpt-oss's inner function has fixed constants there", "deepseek-v2-lite": "YaRN's weight of all dimensions does not reach the scores there"}
FUSED = {"olmoe", "qwen2-moe", "qwen3-moe"}


def prefix_of(name):
    return MODELS[name][0]


def make(name):
    prefix, given = MODELS[name]
    config = getattr(transformers, f"{prefix}TextConfig" if prefix == "Gemma3" else f"{prefix}Config")(**(dict(rope_parameters=PLAIN, tie_word_embeddings=False) | given), attn_implementation="eager", experts_implementation="eager")
    torch.manual_seed(sum(map(ord, name)))
    model = getattr(transformers, f"{prefix}ForCausalLM")(config).double().eval()
    with torch.no_grad():
        for key, p in model.named_parameters():
            p.copy_((1 + 0.2 * torch.randn_like(p) if "norm" in key else 0.4 * torch.randn_like(p)).float().double())
        for key, buffer in model.named_buffers():
            if "e_score_correction_bias" in key:
                buffer.copy_((0.2 * torch.randn_like(buffer)).float().double())
    return model


def run(model, ids):
    blocks, routed = [], []
    hooks = [layer.register_forward_hook(lambda _module, _inputs, output: blocks.append((output[0] if isinstance(output, tuple) else output).reshape(len(ids), -1))) for layer in model.model.layers]
    gates = [getattr(getattr(layer, "mlp", None), name, None) for layer in model.model.layers for name in ("gate", "router")]
    hooks += [gate.register_forward_hook(lambda _module, _inputs, output: routed.append(output)) for gate in gates if gate is not None]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    for hook in hooks:
        hook.remove()
    return logits, blocks, routed


def rounded(tensor):
    return [float(f"{value:.7g}") for value in tensor.flatten().tolist()]


def tokenizer(folder, size):
    """One letter a token: the models are not about text."""
    vocabulary = {("<s>" if at == 0 else chr(96 + at)): at for at in range(size)}
    bpe = dict(type="BPE", dropout=None, unk_token="<s>", continuing_subword_prefix=None, end_of_word_suffix=None, fuse_unk=False, byte_fallback=False, ignore_merges=False, vocab=vocabulary, merges=[])
    special = dict(id=0, content="<s>", single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
    (folder / "tokenizer.json").write_text(json.dumps(dict(version="1.0", truncation=None, padding=None, added_tokens=[special], normalizer=None, pre_tokenizer=None, post_processor=None, decoder=None, model=bpe)))
    (folder / "tokenizer_config.json").write_text(json.dumps(dict(tokenizer_class="PreTrainedTokenizerFast", bos_token="<s>", unk_token="<s>")))


def fixtures(names):
    for name in names:
        shutil.rmtree(OUT / name, ignore_errors=True)
        model, folder = make(name), OUT / name
        generator, cases = torch.Generator().manual_seed(5), []
        for length in LENGTHS:
            ids = torch.randint(0, model.config.vocab_size, (length,), generator=generator).tolist()
            logits, blocks, routed = run(model, ids)
            case = dict(ids=ids, logits=rounded(logits), blocks=[rounded(block) for block in blocks])
            if routed:
                if prefix_of(name).startswith("Deepseek"):  # which asks for the best in any order: by number then
                    orders = [each[2].argsort(-1) for each in routed]
                    routed = [(each[0], each[1].gather(1, order), each[2].gather(1, order)) for each, order in zip(routed, orders)]
                case |= dict(choices=[each[2].flatten().tolist() for each in routed], weights=[rounded(each[1]) for each in routed])
            cases.append(case)
        model.float().save_pretrained(folder)
        for extra in set(p.name for p in folder.iterdir()) - {"config.json", "model.safetensors"}:
            (folder / extra).unlink()
        if name in FUSED:
            with tempfile.TemporaryDirectory() as other:
                model.save_pretrained(other, save_original_format=False)
                (folder / "fused").mkdir()
                for file in ("config.json", "model.safetensors"):
                    shutil.copy(pathlib.Path(other) / file, folder / "fused" / file)
            tokenizer(folder / "fused", model.config.vocab_size)
        tokenizer(folder, model.config.vocab_size)
        (folder / "expected.json").write_text(json.dumps(dict(version=transformers.__version__, torch=torch.__version__, cases=cases), separators=(",", ":")) + "\n")
        print(f"{name}: {sum(p.stat().st_size for p in folder.rglob('*') if p.is_file())} bytes, {len(load_file(folder / 'model.safetensors'))} tensors")


def in_transformers_4(root):
    """--back under transformers 4, in an environment of its own that is made once."""
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "switchyard" / "transformers-4"
    python = home / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", home], check=True)  # torch comes from here
        subprocess.run([python, "-m", "pip", "install", "-q", "transformers==4.57.*"], check=True, stderr=subprocess.DEVNULL)
    return subprocess.run([python, __file__, "--back", root]).returncode


def compare(versions):
    """Both directions: the fixtures made again are the committed ones and our decoder's logits are theirs; what we write is loaded again."""
    node, here = ["node", "--import", "tsx", "--conditions=@switchyard/source"], pathlib.Path(__file__).parents[2]
    jest = ["node", "--experimental-vm-modules", "--disable-warning=ExperimentalWarning", str(here / "node_modules/jest/bin/jest.js"), "src/LanguageModel.families.test.ts"]
    fixtures(list(MODELS))
    changed = subprocess.run(["git", "status", "--short", str(OUT)], capture_output=True, text=True, check=True).stdout.split("\n")[:-1]
    print(json.dumps(dict(fixtures=len(MODELS), changed=changed)))
    codes = [1 if changed else 0, subprocess.run(jest, cwd=here / "packages/routing").returncode]
    with tempfile.TemporaryDirectory() as written:
        codes.append(subprocess.run([*node, "tools/parity/families.ts", written], cwd=here).returncode)
        for version in versions:
            codes.append(in_transformers_4(written) if version == "4" else subprocess.run([sys.executable, __file__, "--back", written]).returncode)
    sys.exit(1 if any(codes) else 0)


def back(root):
    failed, old = False, int(transformers.__version__.split(".")[0]) < 5
    for name in MODELS:
        if old and name in NEW:
            print(json.dumps(dict(model=name, transformers=transformers.__version__, left_out=NEW[name])))
            continue
        folder = root / name
        eager = dict(attn_implementation="eager") | ({} if old else dict(experts_implementation="eager"))
        model, info = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, dtype=torch.float32, **eager)
        faults = {key: sorted(map(str, value)) for key, value in info.items() if value}
        expected = json.loads((OUT / name / "expected.json").read_text())["cases"]
        model = model.eval() if old else model.double().eval()  # some of the old classes compute in float32 alone
        worst = max((run(model, case["ids"])[0].double().flatten() - torch.tensor(case["logits"], dtype=torch.float64)).abs().max().item() for case in expected)
        names = set(load_file(folder / "model.safetensors")) ^ set(load_file(OUT / name / "model.safetensors"))
        if names:
            faults["names"] = sorted(names)
        failed |= bool(faults) or worst > (1e-4 if old else 1e-5)
        print(json.dumps(dict(model=name, transformers=transformers.__version__, loaded=type(model).__name__, largest_logit_difference=worst, faults=faults)))
    sys.exit(1 if failed else 0)


arguments = argparse.ArgumentParser()
arguments.add_argument("names", nargs="*")
arguments.add_argument("--back", type=pathlib.Path)
arguments.add_argument("--compare", action="store_true")
arguments.add_argument("--transformers", choices=("4", "5", "both"), default="both")
given = arguments.parse_args()
if given.compare:
    compare(["4", "5"] if given.transformers == "both" else [given.transformers])
elif given.back:
    sys.exit(in_transformers_4(given.back)) if given.transformers == "4" else back(given.back)
else:
    fixtures(given.names or list(MODELS))
