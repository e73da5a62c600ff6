#!/usr/bin/env bash
# Trains the wave delineator anew: llava_ecg/ecg/waves/delineator.safetensors on every marked record, tests/ecg/folds/fold{0..4}.safetensors each without one fold.
# Hardware: 2 CPU cores, 4 GB of memory; 6 to 12 minutes a network, one after the other, by the machine. Data: ../shared/data (LUDB and a sample of PTB-XL, see its README.md).
#
#   bash scripts/train_delineator.sh                 arguments go to scripts/train_delineator.py
#   DATA=/data bash scripts/train_delineator.sh      where ludb/ and ptbxl/ lie
set -euo pipefail
EXTRA=test
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$ROOT"
DATA="${DATA:-../shared/data}"
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE

train() {
    "$PY" scripts/train_delineator.py --data "$DATA/ludb" --unmarked "$DATA/ptbxl" "$@"
}

mkdir -p tests/ecg/folds
train --out llava_ecg/ecg/waves/delineator.safetensors "$@"
for fold in 0 1 2 3 4; do train --fold "$fold" --out "tests/ecg/folds/fold$fold.safetensors" "$@"; done
