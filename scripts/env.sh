# Sourced by the other scripts: makes .venv at the root of the checkout and installs llava-ecg into it, once.
#
# Reads  EXTRA    the extra of setup.py that the caller needs (empty: none)
#        PYTHON   which Python to make the environment with (unset: python3, then python3.14 ... python3.11)
# Sets   ROOT     the checkout          VENV  its environment          PY  the environment's Python
# The working folder stays the caller's. What pip prints goes to .venv/install.log; what pip reads (PIP_INDEX_URL, PIP_FIND_LINKS,
# PIP_NO_INDEX, ...) is the user's. Where a torch with CUDA can be imported already, the environment borrows it and replaces nothing.

unset CDPATH # or `cd` prints where it went
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)"
VENV="$ROOT/.venv"
PY="$VENV/bin/python"
# Two OpenMP threads that spin on busy cores fall to a tenth of their speed.
export OMP_WAIT_POLICY=PASSIVE PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf 'llava-ecg: %s\n' "$*" >&2; }

die() { # die STATUS SENTENCE
    say "$2"
    exit "$1"
}

step() { # step SENTENCE COMMAND...: says it, runs it into the log, and shows the end of the log if it fails
    say "$1"
    shift
    "$@" >>"$VENV/install.log" 2>&1 && return
    tail -n 20 "$VENV/install.log" >&2
    die 1 "the installation failed; the lines above are the end of $VENV/install.log (run this again to go on from here)"
}

unless_there() { # unless_there DONE SENTENCE COMMAND...: says it and runs the command, unless the file or folder DONE is there
    local done="$1" sentence="$2"
    shift 2
    [ ! -e "$done" ] || return 0
    say "$sentence"
    "$@"
}

find_python() { # prints the first Python >= 3.11 that can make environments
    local name version lacking="" candidates=(python3 python3.14 python3.13 python3.12 python3.11)
    [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
    for name in "${candidates[@]}"; do
        "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        if "$name" -c 'import ensurepip, venv' 2>/dev/null; then
            printf '%s\n' "$name"
            return
        fi
        lacking="$lacking $name"
    done
    [ -z "$lacking" ] || die 2 "Python without its venv module:$lacking; install it (Debian, Ubuntu: apt install python3-venv) and run this again"
    version="$("${candidates[0]}" --version 2>&1)" || version="no ${candidates[0]}"
    die 2 "needs Python 3.11 or newer and found $version; install one, or name it: PYTHON=/path/to/python3.11 bash $0"
}

cuda_torch() { # prints "VERSION FOLDER" of a torch that works with CUDA here and is new enough, or nothing
    "$1" -c 'import torch
from pathlib import Path
new_enough = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 11)
if torch.version.cuda and torch.cuda.is_available() and new_enough:
    print(torch.__version__, Path(torch.__file__).parent.parent)' 2>/dev/null || true
}

make_venv() {
    local python found version
    python="$(find_python)" || exit $?
    version="$("$python" -c 'import platform; print(platform.python_version())')"
    found="$(cuda_torch "$python")"
    say "making $VENV (Python $version)${found:+, which borrows torch ${found%% *} with CUDA}"
    "$python" -m venv --clear ${found:+--system-site-packages} "$VENV" || die 2 "$python could not make the environment $VENV; the lines above say why"
    # A torch that lies in another virtual environment is no system package: name its folder.
    if [ -n "$found" ] && ! "$PY" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)'; then
        printf '%s\n' "${found#* }" >"$("$PY" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/borrowed.pth"
    fi
}

constraints() { # prints constraints.txt without what is borrowed from outside; a borrowed torch is held where it is
    "$PY" -P -c 'import re, sys
from importlib.metadata import distributions
from pathlib import Path
home = Path(sys.prefix).resolve()
def key(name): return re.sub(r"[-_.]+", "-", name).lower()
found = ((d.metadata["Name"], d.version, Path(d.locate_file("")).resolve()) for d in distributions())
borrowed = {key(name): version for name, version, place in found if name and not place.is_relative_to(home)}
for line in Path(sys.argv[1]).read_text().splitlines():
    if key(re.split(r"[=#\s]", line, maxsplit=1)[0]) not in borrowed:
        print(line)
if "torch" in borrowed:
    print("torch==" + borrowed["torch"])' "$ROOT/constraints.txt"
}

install() { # install EXTRA
    local held="$VENV/constraints.txt" torch began=$SECONDS
    constraints >"$held" || die 1 "could not read $ROOT/constraints.txt"
    torch="$(sed -n 's/^torch==//p' "$held")"
    if ! "$PY" -P -c 'import sys
from importlib.metadata import version
sys.exit(version("torch").split("+")[0] != sys.argv[1].split("+")[0])' "$torch" 2>/dev/null; then
        step "installing torch $torch (the largest part; one to five minutes)" "$PY" -m pip install "torch==$torch" -c "$held"
    fi
    step "installing llava-ecg${1:+ with what [$1] adds} (about a minute)" "$PY" -m pip install -c "$held" -e "$ROOT${1:+[$1]}"
    say "installed in $((SECONDS - began)) s"
}

ready() { # ready EXTRA: makes and installs what is not there yet
    # What was installed is known by what it was installed from, and where: a moved checkout is installed again.
    local made_of stamp extra="$1"
    made_of="$(cd "$ROOT" && { pwd -P && cat setup.py pyproject.toml constraints.txt; } | cksum)"
    "$PY" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || make_venv
    for stamp in "$VENV"/installed-*; do # those of another state go first, or an interrupted change would leave them standing
        [ "$(cat "$stamp" 2>/dev/null)" = "$made_of" ] || rm -f "$stamp"
    done
    [ -e "$VENV/installed-${extra:-base}" ] && return
    install "$extra"
    printf '%s\n' "$made_of" | tee "$VENV/installed-base" >"$VENV/installed-${extra:-base}"
}

ready "${EXTRA:-}"
