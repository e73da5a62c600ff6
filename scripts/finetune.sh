#!/usr/bin/env bash
# Second stage: projectors and the whole language model.
# Hardware and memory (estimates by arithmetic; --dry_run makes them for your model and data): for 7B,
# weights, gradients and Adam states in float32 are 108 GB beside the activations: no single 80 GB GPU holds that. Several GPUs hold it
# in shards with --fsdp full_shard (docs/train.md); finetune_lora.sh needs less, and a model of 2B fits into 80 GB.
# Time: not measured yet on these GPUs; --dry_run counts the tokens, and the run shows tokens/s and what is left.
#
# One GPU, 8 GPUs of one machine (torchrun), 2 machines (this on host0, and on the other with NODE_RANK=1):
#   bash scripts/finetune.sh --model_name_or_path MODEL \
#       --data_path train.json --ecg_folder data --output_dir out
#   NPROC=8 bash scripts/finetune.sh ...
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=host0 NPROC=8 bash scripts/finetune.sh ...
#
# Hyper-parameters: scripts/recipes/finetune.yaml. Any flag of python -m llava_ecg.train may follow and wins over it.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
launch finetune "$@"
