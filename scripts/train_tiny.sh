#!/usr/bin/env bash
# Makes gem-tiny from nothing: a toy data set, two towers, then projectors and a LoRA of SmolLM2-135M-Instruct.
# Hardware: two CPU cores (an AMD EPYC of 2023 took the times below) or one GPU. Time: 1 h 30 min (data 1 min, towers 17 min each at a
# time, the rest). Memory: 8 GB. Disk: 2 GB.
#
#   bash scripts/train_tiny.sh                                    simulated ECGs, and ../shared/data where it lies beside the checkout
#   OUT=/tmp/mine TOWER_MINUTES=2 STEPS=20 bash scripts/train_tiny.sh     a short trial
#   bash scripts/train_tiny.sh --bf16 false --use_cpu false       flags go to the last step, `python -m llava_ecg.train`
#
# The towers are trained for a time and not for a number of steps, so another machine gives other weights; seeds are fixed otherwise.
set -euo pipefail
EXTRA=train
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$ROOT"
OUT="${OUT:-$ROOT/playground/tiny}"
STEPS="${STEPS:-300}"
TOWER_MINUTES="${TOWER_MINUTES:-16}"
DATA="$ROOT/../shared/data"

real=()
if [ -d "$DATA/ptbxl" ]; then real=(--real "$DATA" --ptbxl 1625); fi
say "making the data set in $OUT/data"
"$PY" playground/make_toy.py "$OUT/data" --count "${COUNT:-5000}" --test-share 0.04 --seed 7 "${real[@]}"
say "training the ECG tower ($TOWER_MINUTES minutes)"
"$PY" -m llava_ecg.train.towers ecg --data "$OUT/data" --out "$OUT/ecg" --epochs 60 --minutes "$TOWER_MINUTES"
say "training the image tower ($TOWER_MINUTES minutes)"
"$PY" -m llava_ecg.train.towers image --data "$OUT/data" --out "$OUT/image" --epochs 60 --minutes "$TOWER_MINUTES" --limit 2200
"$VENV/bin/llava-ecg" fetch gem-tiny
say "training projectors and LoRA ($STEPS steps)"
"$PY" -m llava_ecg.train \
    --model_name_or_path smollm2-135m-instruct --version ecg_chatml \
    --ecg_tower "$OUT/ecg" --vision_tower "$OUT/image" --ecg_projector_type linear --mm_projector_type mlp2x_gelu \
    --lora_enable --lora_r 16 --lora_alpha 32 --lora_dropout 0.0 \
    --data_path "$OUT/data/train.json" --ecg_folder "$OUT/data" --render_pages --modality_dropout 0.5 \
    --model_max_length 1024 --per_device_train_batch_size 4 --max_steps "$STEPS" \
    --learning_rate 1e-3 --mm_projector_lr 2e-3 --lr_scheduler_type cosine --warmup_steps 15 --max_grad_norm 1.0 \
    --bf16 --use_cpu --seed 0 --logging_steps 10 --save_strategy no --report_to none --dataloader_num_workers 0 \
    --output_dir "$OUT/gem-tiny" "$@"
say "done: try it with  $VENV/bin/llava-ecg chat --model $OUT/gem-tiny"
