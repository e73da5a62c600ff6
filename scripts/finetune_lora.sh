#!/usr/bin/env bash
# Second stage through a LoRA of the language model (rank 128), and the projectors.
# Hardware and memory (estimates by arithmetic; --dry_run makes them for your model and data): for 7B,
# 14 GB of frozen bfloat16 weights and 5 GB for the LoRA with its gradients and Adam states: one 40 GB GPU.
# Time: not measured yet on these GPUs; --dry_run counts the tokens, and the run shows tokens/s and what is left.
#
# One GPU, 8 GPUs of one machine (torchrun), 2 machines (this on host0, and on the other with NODE_RANK=1):
#   bash scripts/finetune_lora.sh --model_name_or_path MODEL \
#       --data_path train.json --ecg_folder data --output_dir out
#   NPROC=8 bash scripts/finetune_lora.sh ...
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=host0 NPROC=8 bash scripts/finetune_lora.sh ...
#
# Hyper-parameters: scripts/recipes/finetune_lora.yaml. Any flag of python -m llava_ecg.train may follow and wins over it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
launch finetune_lora "$@"
