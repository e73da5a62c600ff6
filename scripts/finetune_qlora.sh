#!/usr/bin/env bash
# finetune_lora.sh over a language model in 4 bits (nf4, double quantisation).
# Hardware and memory (estimates by arithmetic; --dry_run makes them for your model and data): for 7B,
# 4 GB of frozen weights and 5 GB for the LoRA with its gradients and Adam states: one 16 GB GPU. The CPU does it too, slowly.
# Time: not measured yet on these GPUs; --dry_run counts the tokens, and the run shows tokens/s and what is left.
# Needs bitsandbytes: pip install "llava-ecg[quant]".
#
# One GPU, 8 GPUs of one machine (torchrun), 2 machines (this on host0, and on the other with NODE_RANK=1):
#   bash scripts/finetune_qlora.sh --model_name_or_path MODEL \
#       --data_path train.json --ecg_folder data --output_dir out
#   NPROC=8 bash scripts/finetune_qlora.sh ...
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=host0 NPROC=8 bash scripts/finetune_qlora.sh ...
#
# Hyper-parameters: scripts/recipes/finetune_qlora.yaml. Any flag of python -m llava_ecg.train may follow and wins over it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
launch finetune_qlora "$@"
