#!/usr/bin/env bash
# First stage: projectors alone, between frozen towers and a frozen language model.
# Hardware and memory (estimates by arithmetic; --dry_run makes them for your model and data): a 7B
# language model is held in float32, 27 GB, and nothing of it is trained: one 48 GB GPU, or 24 GB with --bits 4.
# Time: not measured yet on these GPUs; --dry_run counts the tokens, and the run shows tokens/s and what is left.
#
# One GPU, 8 GPUs of one machine (torchrun), 2 machines (this on host0, and on the other with NODE_RANK=1):
#   bash scripts/pretrain.sh --model_name_or_path VICUNA --ecg_tower ECG --vision_tower CLIP \
#       --data_path train.json --ecg_folder data --output_dir out
#   NPROC=8 bash scripts/pretrain.sh ...
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=host0 NPROC=8 bash scripts/pretrain.sh ...
#
# Hyper-parameters: scripts/recipes/pretrain.yaml. Any flag of python -m llava_ecg.train may follow and wins over it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
launch pretrain "$@"
