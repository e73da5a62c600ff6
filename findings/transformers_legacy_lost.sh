#!/usr/bin/env bash
# Version:  transformers 5.23.0 with tokenizers 0.23.3 and sentencepiece 0.2.3
# Expected: a tokenizer that is saved and loaded again gives the same tokens.
# Seen:     a Llama tokenizer whose tokenizer_config.json says "legacy": true, as the first LLaVA and Vicuna releases need it, writes the
#           first word behind a special token with a leading space. save_pretrained leaves the key out of tokenizer_config.json; absent, it
#           counts as false; and the tokenizer.json beside it, which still says that the space is always written, is not asked. So the
#           same folder gives other tokens behind each </s>, which is where every turn of a conversation begins.
# Output:
#   loaded:   legacy True, </s> ▁USER : ▁What
#   saved:    legacy is not in tokenizer_config.json; prepend_scheme in tokenizer.json is always
#   reloaded: legacy False, </s> US ER : ▁What
#   as stated
set -euo pipefail
dir="$(mktemp -d)"
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install --quiet transformers==5.23.0 tokenizers==0.23.3 sentencepiece==0.2.3 protobuf==7.36.2 ||
    { echo "could not install the packages"; exit 2; }
HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error PYTHONIOENCODING=utf-8 venv/bin/python - <<'PY'
import json
from pathlib import Path

import sentencepiece
from transformers import AutoTokenizer

leads = ["I", "II", "III", "V1", "V2", "V5", "aVL", "aVF"]
findings = ["ST elevation", "T wave inversion", "a long PR interval", "a narrow QRS complex", "a tall R wave", "small voltages"]
sentences = [f"USER: What does lead {lead} show? ASSISTANT: Lead {lead} shows {finding}." for lead in leads for finding in findings]
first = Path("first")
first.mkdir()
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(sentences), model_prefix="first/tokenizer", model_type="bpe", vocab_size=160, minloglevel=2
)
settings = {"tokenizer_class": "LlamaTokenizer", "legacy": True, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
(first / "tokenizer_config.json").write_text(json.dumps(settings))
(first / "config.json").write_text(json.dumps({"model_type": "llama"}))
text = "USER: What does lead II show? ASSISTANT: Lead II shows a tall R wave.</s>USER: What does lead V1 show?"


def behind_end(tokenizer):
    tokens = tokenizer.tokenize(text)
    at = tokens.index("</s>")
    return tokens[at : tokens.index("▁What", at) + 1]


loaded = AutoTokenizer.from_pretrained(first)
loaded.save_pretrained("second")
reloaded = AutoTokenizer.from_pretrained("second")
kept = "legacy" in json.loads(Path("second/tokenizer_config.json").read_text())
scheme = json.loads(Path("second/tokenizer.json").read_text())["pre_tokenizer"]["prepend_scheme"]
print(f"loaded:   legacy {loaded.legacy},", *behind_end(loaded))
print(f"saved:    legacy is {'' if kept else 'not '}in tokenizer_config.json; prepend_scheme in tokenizer.json is {scheme}")
print(f"reloaded: legacy {reloaded.legacy},", *behind_end(reloaded))

stated = loaded.legacy is True and not kept and scheme == "always" and reloaded.legacy is False
if not stated or behind_end(loaded)[1] != "▁USER" or behind_end(reloaded)[1] == "▁USER":
    raise SystemExit("changed: the tokenizer is saved and loaded otherwise than stated")
print("as stated")
PY
