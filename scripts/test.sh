#!/usr/bin/env bash
# Makes the environment with the test extra and runs the tests. Two cores and 4 GB of memory will do; a GPU is used where there is one.
#
#   bash scripts/test.sh                              everything but what is marked slow, in parallel
#   bash scripts/test.sh tests/ecg -k resample        arguments go to pytest as they are, in one process
#   bash scripts/test.sh -m slow                      the slow ones
set -euo pipefail
EXTRA=test
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

# pytest runs at the root of the checkout, so paths that the caller meant from elsewhere are made absolute.
args=()
for arg in "$@"; do
    path="${arg%%::*}"
    if [ "${arg#-}" = "$arg" ] && [ -e "$path" ]; then
        arg="$(cd "$(dirname "$path")" && pwd -P)/$(basename "$path")${arg#"$path"}"
    fi
    args+=("$arg")
done
cd "$ROOT"
export HF_HUB_OFFLINE=1 # no test needs the network; one that asks for it fails at once

if [ $# -eq 0 ]; then
    cores="$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)"
    args=(-n "$((cores < 4 ? cores : 4))" --dist loadfile)
    export OMP_NUM_THREADS=1 # one thread for each of the processes
fi

"$VENV/bin/llava-ecg" fetch gem-tiny >&2 || say "the embedded language model could not be fetched; the tests that need it are skipped"
status=0
"$PY" -m pytest "${args[@]}" || status=$?
if [ "$status" -eq 0 ]; then
    echo "llava-ecg tests: passed"
else
    echo "llava-ecg tests: FAILED (pytest ended with $status)"
fi
exit "$status"
