#!/usr/bin/env bash
# GEM's recipe: signal, page and text; projectors and language model trained for one epoch, towers frozen.
# Hardware and memory (estimates by arithmetic; --dry_run makes them for your model and data): for 7B,
# weights, gradients and Adam states in float32 are 108 GB beside the activations: no single 80 GB GPU holds that; --lora_enable True
# --learning_rate 2e-4 trains the same data on one 40 GB GPU.
# Time: not measured yet on these GPUs; --dry_run counts the tokens, and the run shows tokens/s and what is left.
#
# One GPU, 8 GPUs of one machine (torchrun), 2 machines (this on host0, and on the other with NODE_RANK=1):
#   bash scripts/train_gem.sh --model_name_or_path PULSE --ecg_tower ecg-coca \
#       --data_path train.json --ecg_folder data --output_dir out
#   NPROC=8 bash scripts/train_gem.sh ...
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=host0 NPROC=8 bash scripts/train_gem.sh ...
#
# Hyper-parameters: scripts/recipes/train_gem.yaml. Any flag of python -m llava_ecg.train may follow and wins over it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
launch train_gem "$@"
