#!/usr/bin/env bash
# Makes gem-tiny from nothing: a toy data set, two towers, their alignment, then projectors and a LoRA of SmolLM2-135M-Instruct.
# Hardware: two CPU cores. Time: about 1 h 25 min (data 2, towers 20 each with what they read, alignment 15, language model 25, on two
# cores of an AMD EPYC). Memory: 8 GB. Disk: 2 GB.
#
#   bash scripts/train_tiny.sh                                    simulated ECGs, and ../shared/data where it lies beside the checkout
#   OUT=/tmp/mine TOWER_MINUTES=2 ALIGN_MINUTES=2 STEPS=20 bash scripts/train_tiny.sh     a short trial
#   bash scripts/train_tiny.sh --bf16 false --use_cpu false       flags go to the last two steps, `python -m llava_ecg.train`
#
# The towers are trained for a time and not for a number of steps, so another machine gives other weights; seeds are fixed otherwise.
set -euo pipefail
EXTRA=train
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$ROOT"
OUT="${OUT:-$ROOT/playground/tiny}"
STEPS="${STEPS:-140}"
TOWER_MINUTES="${TOWER_MINUTES:-36}"
ALIGN_MINUTES="${ALIGN_MINUTES:-20}"
DATA="$ROOT/../shared/data"

real=()
if [ -d "$DATA/ptbxl" ] && [ -d "$DATA/cinc2021" ] && [ -d "$DATA/cinc2011" ]; then real=(--real "$DATA" --ptbxl 1625); fi
say "making the data set in $OUT/data"
"$PY" playground/make_toy.py "$OUT/data" --count "${COUNT:-5000}" --test-share 0.04 --seed 7 ${real[@]+"${real[@]}"}
records=()
[ ! -d "$DATA" ] || records=(--real "$DATA")
[ -f "$OUT/set/records.json" ] || "$PY" -m llava_ecg.train.tiny.records "$OUT/set" --simulated "${COUNT:-6000}" --seed 11 ${records[@]+"${records[@]}"}
say "training the ECG tower ($TOWER_MINUTES minutes)"
"$PY" -m llava_ecg.train.tiny.towers ecg --data "$OUT/set" --out "$OUT/ecg" --minutes "$TOWER_MINUTES"
say "training the image tower ($TOWER_MINUTES minutes)"
"$PY" -m llava_ecg.train.tiny.towers image --data "$OUT/set" --out "$OUT/image" --minutes "$TOWER_MINUTES"
"$VENV/bin/llava-ecg" fetch gem-tiny
say "aligning both towers with the language model's embedding ($ALIGN_MINUTES minutes)"
"$PY" -m llava_ecg.train.tiny.align --data "$OUT/set" --ecg_tower "$OUT/ecg" --vision_tower "$OUT/image" --out "$OUT/aligned" \
    --minutes "$ALIGN_MINUTES"
say "training projectors and LoRA ($STEPS steps)"
"$PY" -m llava_ecg.train \
    --model_name_or_path smollm2-135m-instruct --version ecg_chatml \
    --ecg_tower "$OUT/aligned/ecg" --vision_tower "$OUT/aligned/image" --ecg_projector_type linear --mm_projector_type mlp2x_gelu \
    --pretrain_mm_mlp_adapter "$OUT/aligned/projectors.safetensors" \
    --lora_enable --lora_r 16 --lora_alpha 32 --lora_dropout 0.0 \
    --data_path "$OUT/data/train.json" --ecg_folder "$OUT/data" --render_pages --modality_dropout 0.5 \
    --model_max_length 1024 --per_device_train_batch_size 4 --max_steps "$STEPS" \
    --learning_rate 1e-3 --mm_projector_lr 3e-4 --lr_scheduler_type cosine --warmup_steps 10 --max_grad_norm 1.0 \
    --bf16 --use_cpu --seed 0 --logging_steps 10 --save_strategy no --save_dtype float16 --report_to none --dataloader_num_workers 0 \
    --output_dir "$OUT/first" "$@"
say "going on with the signal alone, whose shorter sequences are cheaper ($((STEPS * 5 / 7)) steps)"
"$PY" -m llava_ecg.train \
    --model_name_or_path "$OUT/first" --lora_enable --data_path "$OUT/data/train.json" --ecg_folder "$OUT/data" \
    --model_max_length 1024 --per_device_train_batch_size 4 --max_steps "$((STEPS * 5 / 7))" \
    --learning_rate 8e-4 --mm_projector_lr 2e-4 --lr_scheduler_type cosine --warmup_steps 5 --max_grad_norm 1.0 \
    --bf16 --use_cpu --seed 1 --logging_steps 10 --save_strategy no --save_dtype float16 --report_to none \
    --output_dir "$OUT/gem-tiny" "$@"
say "done: try it with  $VENV/bin/llava-ecg chat --model $OUT/gem-tiny"
