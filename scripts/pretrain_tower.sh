#!/usr/bin/env bash
# Pre-trains a tower of gem-tiny: labels, rate, intervals, axis, rhythm and P waves by supervised heads, then, with two layers more, the writing
# of what it tells as a caption. Each training prints at its end what the heads know of recordings that the tower has not seen.
# Hardware: two CPU cores. Time: the set 6 minutes, the signal's tower 106, the page's 53 (it is taught by the signal's). Memory: 8 GB. Disk: 5 GB.
#
#   bash scripts/pretrain_tower.sh                       the signal's tower, into playground/tiny/ecg; the set first, where it is not there
#   bash scripts/pretrain_tower.sh image                 the page's, into playground/tiny/image; what it needs first
#   bash scripts/pretrain_tower.sh set                   the set alone: simulated ECGs, and ../shared/data where it lies beside the checkout
#   OUT=/tmp/mine TRIAL=1 bash scripts/pretrain_tower.sh     a short trial: a minute of each training, for its way and not its result
#
# Each step that is done is not done again, and a training that was broken off goes on. Towers are trained for a time and not for a number of
# steps, so another machine gives other weights; seeds are fixed otherwise. `scripts/train_tiny.sh` begins with this. COUNT is how many ECGs
# are simulated (6000); ECG_MINUTES (46), ECG_WRITE_MINUTES (60), IMAGE_MINUTES (18) and IMAGE_WRITE_MINUTES (35) are how long each training takes.
set -euo pipefail
EXTRA=train
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
OUT="${OUT:-$ROOT/playground/tiny}"
DATA="$ROOT/../shared/data"
stream="${1:-ecg}"
[ $# -le 1 ] || die 2 "one tower at a time, and no flags: settings are in the environment (the head of $0 lists them)"
case "$stream" in
set | ecg | image) ;;
*) die 2 "there is no tower $stream; take ecg, image, or set for what they are trained on" ;;
esac
if [ -n "${TRIAL:-}" ]; then
    : "${COUNT:=200}" "${ECG_MINUTES:=1}" "${ECG_WRITE_MINUTES:=1}" "${IMAGE_MINUTES:=1}" "${IMAGE_WRITE_MINUTES:=1}"
fi
towers() { # towers WORD...: a tower of the set
    "$PY" -m llava_ecg.train.tiny.towers "$@" --data "$OUT/set"
}

real=()
[ ! -d "$DATA" ] || real=(--real "$DATA")
unless_there "$OUT/set/records.json" "making the set in $OUT/set" \
    "$PY" -m llava_ecg.train.tiny.records "$OUT/set" --simulated "${COUNT:-6000}" --seed 11 ${real[@]+"${real[@]}"}
[ "$stream" != set ] || exit 0
unless_there "$OUT/ecg-plain/model.safetensors" "training the ECG tower" \
    towers ecg --out "$OUT/ecg-plain" --minutes "${ECG_MINUTES:-46}"
unless_there "$OUT/ecg/model.safetensors" "teaching it to write" \
    towers ecg --init "$OUT/ecg-plain" --grow 2 --write --out "$OUT/ecg" --minutes "${ECG_WRITE_MINUTES:-60}" --learning_rate 8e-4
[ "$stream" != ecg ] || exit 0
unless_there "$OUT/image-plain/model.safetensors" "training the image tower" \
    towers image --out "$OUT/image-plain" --teacher "$OUT/ecg" --minutes "${IMAGE_MINUTES:-18}"
unless_there "$OUT/image/model.safetensors" "teaching it to write" \
    towers image --init "$OUT/image-plain" --grow 2 --write --teacher "$OUT/ecg" --out "$OUT/image" --minutes "${IMAGE_WRITE_MINUTES:-35}" \
    --learning_rate 8e-4
