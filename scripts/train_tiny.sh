#!/usr/bin/env bash
# Makes gem-tiny from nothing: a set of measured and labelled ECGs and two towers (scripts/pretrain_tower.sh, whose settings go here too),
# their alignment with the language model's embedding, then a LoRA of SmolLM2-135M-Instruct that reads what they write.
# Hardware: two CPU cores. Time: about four and a half hours on an idle machine (set 6 minutes, the signal's tower 106, pages and their tower 58,
# alignment 9, conversations 4, language model 75). Memory: 8 GB. Disk: 5 GB.
#
#   bash scripts/train_tiny.sh                                    simulated ECGs, and ../shared/data where it lies beside the checkout
#   FROM=gem-tiny bash scripts/train_tiny.sh             the towers and projectors of a checkpoint, and its LoRA trained on: an hour
#   FROM=... CONVERSATIONS=960 SEED=13 ...                       fewer conversations, others
#   OUT=/tmp/mine TRIAL=1 bash scripts/train_tiny.sh     a short trial: minutes of each step, for its way and not its result
#   bash scripts/train_tiny.sh --use_cpu false --bf16             flags go to the last step, `python -m llava_ecg.train`
#
# Each step that is done is not done again, and a training that was broken off goes on, so the same command goes on anywhere. Towers are
# trained for a time and not for a number of steps, so another machine gives other weights; seeds are fixed otherwise.
set -euo pipefail
EXTRA=train
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
OUT="${OUT:-$ROOT/playground/tiny}"
if [ -n "${TRIAL:-}" ]; then
    : "${ALIGN_MINUTES:=1}" "${CONVERSATIONS:=24}"
fi
"$VENV/bin/llava-ecg" fetch gem-tiny
if [ -n "${FROM:-}" ]; then
    OUT="$OUT" bash "$ROOT/scripts/pretrain_tower.sh" set
    unless_there "$OUT/aligned/projectors.safetensors" "taking $FROM apart" \
        "$PY" -m llava_ecg.train.tiny.unpack "$FROM" --out "$OUT/aligned"
else
    OUT="$OUT" bash "$ROOT/scripts/pretrain_tower.sh" image # and, before it, the set and the signal's
    unless_there "$OUT/aligned/projectors.safetensors" "aligning both with the language model's embedding" \
        "$PY" -m llava_ecg.train.tiny.align --data "$OUT/set" --ecg_tower "$OUT/ecg" --vision_tower "$OUT/image" --out "$OUT/aligned" \
        --minutes "${ALIGN_MINUTES:-6}"
fi
unless_there "$OUT/lines/train.json" "writing conversations" \
    "$PY" -m llava_ecg.train.tiny.reading --data "$OUT/set" --ecg_tower "$OUT/aligned/ecg" --vision_tower "$OUT/aligned/image" --out "$OUT/lines" \
    --count "${CONVERSATIONS:-$([ -n "${FROM:-}" ] && echo 2080 || echo 3120)}" --seed "${SEED:-7}"
say "training the LoRA"
if [ -n "${FROM:-}" ]; then # its LoRA is gone on with
    model=(--model_name_or_path "$FROM")
else
    model=(--model_name_or_path smollm2-135m-instruct --version ecg_chatml
        --ecg_tower "$OUT/aligned/ecg" --vision_tower "$OUT/aligned/image" --ecg_projector_type linear --mm_projector_type mlp2x_gelu
        --pretrain_mm_mlp_adapter "$OUT/aligned/projectors.safetensors")
fi
"$PY" -m llava_ecg.train "${model[@]}" --mm_projector_lr 0 \
    --lora_enable --lora_r 16 --lora_alpha 32 --lora_dropout 0.0 \
    --data_path "$OUT/lines/train.json" --ecg_folder "$OUT/lines" --image_folder "$OUT/lines" \
    --model_max_length 1024 --per_device_train_batch_size 4 --num_train_epochs 1 \
    --learning_rate 1e-3 --lr_scheduler_type cosine --warmup_steps 10 --max_grad_norm 1.0 \
    --use_cpu --seed 0 --logging_steps 10 --save_strategy steps --save_steps 50 --save_total_limit 1 --save_dtype float16 \
    --report_to none --dataloader_num_workers 0 --group_by_length \
    --output_dir "$OUT/gem-tiny" "$@"
mkdir -p "$OUT/gem-tiny/heads"
for stream in ecg image; do # so that FROM="$OUT/gem-tiny" can go on from it
    cp "$OUT/aligned/$stream/heads.safetensors" "$OUT/gem-tiny/heads/$stream.safetensors"
done
say "done: try it with  $VENV/bin/llava-ecg chat --model $OUT/gem-tiny"
