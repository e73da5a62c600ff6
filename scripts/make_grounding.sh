#!/usr/bin/env bash
# Makes instruction data of the recordings in ../shared/data (cinc2021 with the codes of their headers, the sample of PTB-XL with
# its labels): every text is written from what was measured and audited against it.
# Hardware: one CPU core. Time: three minutes on a shared x86-64 machine, most of it for PTB-XL's 1,625 recordings; a second run
# measures nothing again. Memory: 1 GB. Disk: 300 MB.
#
#   bash scripts/make_grounding.sh                                   into playground/grounding
#   OUT=/tmp/mine LIMIT=20 bash scripts/make_grounding.sh            a short trial
#   bash scripts/make_grounding.sh --protocol six-step --seed 1      flags go to both runs of `llava-ecg instruct`
#   bash scripts/make_grounding.sh --processes 2                     the same lines from two cores
#
# What was broken off goes on with the same command.
#
# What comes out: cinc2021.jsonl with pages, ptbxl.jsonl and ptbxl.val.jsonl without (its values are in no unit), and
# mixture.yaml, which names both for --data_path; `llava-ecg validate` has looked at all of them.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
DATA="$ROOT/../shared/data"
OUT="${OUT:-$ROOT/playground/grounding}"
CLI="$VENV/bin/llava-ecg"
limit=()
[ -z "${LIMIT:-}" ] || limit=(--limit "$LIMIT")
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

for folder in cinc2021 ptbxl; do
    [ -d "$DATA/$folder" ] || die 2 "there is no $DATA/$folder; put the shared recordings beside the checkout"
done
mkdir -p "$OUT"
DATA="$(cd "$DATA" && pwd -P)"
OUT="$(cd "$OUT" && pwd -P)"

say "cinc2021: facts, pages and texts"
"$CLI" instruct --records "$DATA/cinc2021" --out "$OUT/cinc2021.jsonl" --images "$OUT/pages" --val 0 ${limit[@]+"${limit[@]}"} "$@"
say "ptbxl: a file a recording"
"$PY" "$ROOT/scripts/unpack_ptbxl_sample.py" "$DATA/ptbxl" "$OUT/ptbxl"
say "ptbxl: facts and texts"
"$CLI" instruct --records "$OUT/ptbxl/records.csv" --out "$OUT/ptbxl.jsonl" ${limit[@]+"${limit[@]}"} "$@"

cat >"$OUT/mixture.yaml" <<END
sets:
  - path: $OUT/cinc2021.jsonl
    ecg_folder: $DATA/cinc2021
    image_folder: $OUT/pages
    weight: 1
  - path: $OUT/ptbxl.jsonl
    ecg_folder: $OUT/ptbxl
    weight: 1
END
say "looking at every line"
"$CLI" validate "$OUT/mixture.yaml"
[ ! -f "$OUT/ptbxl.val.jsonl" ] || "$CLI" validate "$OUT/ptbxl.val.jsonl" --ecg_folder "$OUT/ptbxl"
say "done: $OUT/mixture.yaml is what --data_path of the training takes"
