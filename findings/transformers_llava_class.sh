#!/usr/bin/env bash
# Version:  transformers 5.23.0 with tokenizers 0.23.3 and sentencepiece 0.2.3
# Expected: tokenizer_config.json names the class of the tokenizer, and AutoTokenizer opens it as that, whatever model is beside it.
# Seen:     where config.json says "model_type": "llava", as LLaVA's first releases do, "tokenizer_class": "LlamaTokenizer" is overruled.
#           The same sentencepiece model is opened as a TokenizersBackend, which writes no leading space before the first word of a text,
#           nor behind a special token. sentencepiece itself, and the class named, write it. transformers 5.24.0 opens a TokenizersBackend
#           too, but one that writes the spaces: the same folder gives other tokens from one release to the next.
# Output:
#   sentencepiece:                ▁USER : ▁What ▁does ▁lead ▁II ▁show ?
#   llama, by LlamaTokenizer:     ▁USER : ▁What ▁does ▁lead ▁II ▁show ?
#   llava, by TokenizersBackend:  US ER : ▁What ▁does ▁lead ▁II ▁show ?
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
folder = Path("model")
folder.mkdir()
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(sentences), model_prefix="model/tokenizer", model_type="bpe", vocab_size=160, minloglevel=2
)
settings = {"tokenizer_class": "LlamaTokenizer", "legacy": True, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
(folder / "tokenizer_config.json").write_text(json.dumps(settings))
text = "USER: What does lead II show?"

reference = sentencepiece.SentencePieceProcessor(model_file="model/tokenizer.model").encode(text, out_type=str)
print(f"{'sentencepiece:':29}", *reference)
opened = {}
for kind in ("llama", "llava"):
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    opened[kind] = (type(tokenizer).__name__, tokenizer.tokenize(text))
    print(f"{kind + ', by ' + opened[kind][0] + ':':29}", *opened[kind][1])

same = opened["llama"] == ("LlamaTokenizer", reference)
if not same or opened["llava"][0] != "TokenizersBackend" or opened["llava"][1] == reference:
    raise SystemExit("changed: the folder is opened otherwise than stated")
print("as stated")
PY
