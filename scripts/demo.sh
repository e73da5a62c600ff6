#!/usr/bin/env bash
# From nothing to an audited answer about a real ECG. Any machine with Python 3.11 or newer: two cores, 4 GB of memory and 3 GB of disk
# will do. The first run installs (a few minutes, network); every later one starts at once.
#
#   bash scripts/demo.sh                              the 12-lead DICOM that the pydicom package carries
#   bash scripts/demo.sh my_record.hea                a recording of yours
#   bash scripts/demo.sh my_record.hea "Which rhythm?" --seed 1    what follows the file goes to `llava-ecg ask` as it is
#
# The page (PNG) and the answer (JSON) go to playground/output/ of the checkout, which git ignores, or where --out says.
set -euo pipefail
EXTRA=""
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

given() { # given FLAG WORD...: whether the flag is among the words
    local flag="$1" word
    shift
    for word in "$@"; do
        [ "${word%%=*}" != "$flag" ] || return 0
    done
    return 1
}

file=""
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
    file="$1"
    shift
elif ! given --ecg "$@" && ! given --image "$@"; then
    file="$("$PY" -c 'from pydicom.data import get_testdata_file; print(get_testdata_file("waveform_ecg.dcm", download=False))')"
    say "no file given, so this is the 12-lead ECG that the pydicom package carries"
fi
out="$ROOT/playground/output"
words=()
[ -z "$file" ] || words+=(--ecg "$file")
given --out "$@" || words+=(--out "$out")

"$VENV/bin/llava-ecg" fetch gem-tiny
given --out "$@" || say "the page and the answer go to $out"
exec "$VENV/bin/llava-ecg" ask ${words[@]+"${words[@]}"} "$@"
