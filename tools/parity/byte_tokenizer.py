"""What transformers makes of our byte tokenizer's files.

    python3 tools/parity/byte_tokenizer.py FOLDER > packages/core/src/fixtures/byte-tokenizer/transformers.json

FOLDER holds the tokenizer.json and tokenizer_config.json of Tokenizer.bytes().
"""
import json, sys
import transformers

texts = ["", "Hello, world", "  two  spaces\n\ttab\r\n", "déjà vu – naïve", "日本語 🚂🛤️", "a<|eos|>b<|bos|>", "<|nothing|> <|", "\u0000\u0001\u007f\u00ad\ufeff", "x" * 40, "don't I'll 12345"]
tokenizer = transformers.AutoTokenizer.from_pretrained(sys.argv[1])
cases = [{"text": text, "ids": (ids := tokenizer(text)["input_ids"]), "decoded": tokenizer.decode(ids, skip_special_tokens=False)} for text in texts]
json.dump({"transformers": transformers.__version__, "length": len(tokenizer), "bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id, "pad": tokenizer.pad_token_id, "cases": cases}, sys.stdout, indent=1)
print()
