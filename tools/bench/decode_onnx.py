"""A random Llama of SmolLM2-135M's sizes as an ONNX model that transformers.js loads, for eval:bench: FOLDER/model/{config.json, onnx/model.onnx}. Needs PyPI's onnx and numpy, no network.

The graph is the one that exporters make for onnxruntime (fused attention with a cache and rotary positions, fused norms, weights as constants, which it packs once):

    python3 tools/bench/decode_onnx.py FOLDER
"""
import json
import os
import sys

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

hidden, inner, layers, heads, groups, size, vocabulary, context = 576, 1536, 30, 9, 3, 64, 49152, 2048
folder = os.path.join(sys.argv[1], "model")
os.makedirs(os.path.join(folder, "onnx"), exist_ok=True)
random = np.random.default_rng(0)
constants, nodes = [], []


def constant(name, array):
    constants.append(numpy_helper.from_array(array, name))
    return name


def weight(name, rows, columns):
    return constant(name, random.standard_normal((rows, columns), dtype=np.float32) * np.float32(0.02))


def node(kind, inputs, output, domain="", **attributes):
    nodes.append(helper.make_node(kind, inputs, output if isinstance(output, list) else [output], domain=domain, **attributes))
    return output if isinstance(output, str) else output[0]


def matmul(x, name, rows, columns):
    return node("MatMul", [x, weight(name + ".weight", rows, columns)], name)


angles = np.arange(context)[:, None] * 10000.0 ** (-np.arange(0, size, 2) / size)
cosines, sines = constant("cosines", np.cos(angles).astype(np.float32)), constant("sines", np.sin(angles).astype(np.float32))
embedding, one = weight("embedding", vocabulary, hidden), constant("one", np.array([1], np.int64))
gain = constant("gain", np.ones(hidden, np.float32))
node("ReduceSum", ["attention_mask", one], "lengths64", keepdims=1)
node("Sub", ["lengths64", one], "seqlens64")
node("Cast", ["seqlens64"], "seqlens", to=TensorProto.INT32)
node("Shape", ["attention_mask"], "maskShape")
node("Gather", ["maskShape", constant("second", np.array(1, np.int64))], "total64", axis=0)
node("Cast", ["total64"], "total", to=TensorProto.INT32)
x = node("Gather", [embedding, "input_ids"], "embedded")
normed = node("SimplifiedLayerNormalization", [x, gain], "normed.0", axis=-1, epsilon=1e-5, stash_type=1)
ends = []
for layer in range(layers):
    at = f"layers.{layer}"
    q, k, v = matmul(normed, f"{at}.q", hidden, heads * size), matmul(normed, f"{at}.k", hidden, groups * size), matmul(normed, f"{at}.v", hidden, groups * size)
    mixed = node("GroupQueryAttention", [q, k, v, f"past_key_values.{layer}.key", f"past_key_values.{layer}.value", "seqlens", "total", cosines, sines], [f"{at}.mixed", f"present.{layer}.key", f"present.{layer}.value"],
                 domain="com.microsoft", num_heads=heads, kv_num_heads=groups, do_rotary=1)
    output = matmul(mixed, f"{at}.o", heads * size, hidden)
    node("SkipSimplifiedLayerNormalization", [x, output, gain], [f"{at}.fed", "", "", f"{at}.attended"], domain="com.microsoft", epsilon=1e-5)
    gate, up = matmul(f"{at}.fed", f"{at}.gate", hidden, inner), matmul(f"{at}.fed", f"{at}.up", hidden, inner)
    silu = node("Mul", [gate, node("Sigmoid", [gate], f"{at}.sigmoid")], f"{at}.silu")
    down = matmul(node("Mul", [silu, up], f"{at}.inner"), f"{at}.down", inner, hidden)
    node("SkipSimplifiedLayerNormalization", [f"{at}.attended", down, gain], [f"{at}.out", "", "", f"{at}.sum"], domain="com.microsoft", epsilon=1e-5)
    normed, x = f"{at}.out", f"{at}.sum"
    ends += [(f"present.{layer}.key", f"past_key_values.{layer}.key"), (f"present.{layer}.value", f"past_key_values.{layer}.value")]
# only the last num_logits_to_keep rows pass the head
node("Neg", ["num_logits_to_keep"], "negative")
node("Reshape", ["negative", one], "from")
node("Slice", [normed, "from", constant("end", np.array([2**62], np.int64)), one], "last")
node("FusedMatMul", ["last", embedding], "logits", domain="com.microsoft", transB=1)

value = helper.make_tensor_value_info
cache = lambda name, length: value(name, TensorProto.FLOAT, ["batch_size", groups, length, size])
inputs = [value("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"]), value("attention_mask", TensorProto.INT64, ["batch_size", "total_sequence_length"]), value("num_logits_to_keep", TensorProto.INT64, [])]
inputs += [cache(past, "past_sequence_length") for _, past in ends]
outputs = [value("logits", TensorProto.FLOAT, ["batch_size", "kept", vocabulary])] + [cache(present, "total_sequence_length") for present, _ in ends]
model = helper.make_model(helper.make_graph(nodes, "llama", inputs, outputs, constants), opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)], ir_version=9)
save(model, os.path.join(folder, "onnx", "model.onnx"))
config = dict(model_type="llama", architectures=["LlamaForCausalLM"], hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=groups, head_dim=size,
              vocab_size=vocabulary, max_position_embeddings=context, rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=True, eos_token_id=2, bos_token_id=1)
with open(os.path.join(folder, "config.json"), "w") as file:
    json.dump(config, file)
