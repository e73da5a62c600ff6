"""``llava-ecg doctor`` and ``llava-ecg completion``: what this machine has, and what the shell can complete."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from llava_ecg.cli import flags
from llava_ecg.cli.flags import DEFAULT_MODEL, Opener
from llava_ecg.files import printable_line
from llava_ecg.terminal import show, show_json, write

MARKS = {"ok": "ok", "missing": "-", "problem": "!!"}
SHELLS = {
    "bash": "~/.local/share/bash-completion/completions/llava-ecg",
    "zsh": "a folder of $fpath, as _llava-ecg",
    "fish": "~/.config/fish/completions/llava-ecg.fish",
}


def add(commands: Any) -> None:
    """Declare ``doctor`` and ``completion``."""
    parser = flags.command(
        commands,
        "doctor",
        "say what this machine has, what is missing for what, and what to do about it",
        "llava-ecg doctor --model path/to/GEM",
    )
    parser.add_argument(
        "--model",
        type=flags.name_or_path,
        default=DEFAULT_MODEL,
        metavar="DIR|NAME",
        help="the model to find room for (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run_doctor)

    parser = flags.command(
        commands,
        "completion",
        "print what lets a shell complete commands and flags",
        f"llava-ecg completion bash > {SHELLS['bash']}",
    )
    parser.add_argument("shell", choices=sorted(SHELLS))
    parser.set_defaults(run=run_completion)


def run_doctor(arguments: argparse.Namespace, _: Opener | None) -> int:
    """Print what was found, fixes last; exit code 1 where something that is needed does not work."""
    from llava_ecg.doctor import examine

    found = []
    area = ""
    for one in examine(arguments.model):
        found.append(one)
        if arguments.json:
            continue
        if one.area != area:
            area = one.area
            show(area)
        show(f"  {MARKS[one.status]:2}  {printable_line(one.name):22} {printable_line(one.text)}")
    broken = [one for one in found if one.status == "problem"]
    if arguments.json:
        show_json({"findings": [one.to_dict() for one in found], "problems": len(broken)})
        return int(bool(broken))
    fixes = [one for one in found if one.fix]
    if fixes:
        show("", "to do, where you need it")
        for one in fixes:
            show(f"  {MARKS[one.status]:2}  {printable_line(one.name):22} {printable_line(one.fix)}")
    show("", f"{len(broken)} problems" if len(broken) != 1 else "1 problem")
    return int(bool(broken))


def run_completion(arguments: argparse.Namespace, _: Opener | None) -> int:
    """Print the script of a shell."""
    import shtab

    _complete_files(arguments.whole, shtab)
    write(shtab.complete(arguments.whole, shell=arguments.shell) + "\n")
    if sys.stdout.isatty():
        show(f"# write this to {SHELLS[arguments.shell]}", file=sys.stderr)
    return 0


def _complete_files(parser: argparse.ArgumentParser, shtab: Any) -> None:
    """Names of files where a flag takes one."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in {id(each): each for each in action.choices.values()}.values():
                _complete_files(inner, shtab)
            continue
        words = f"{action.metavar or ''} {action.dest}".upper()
        takes_path = action.type is Path or any(word in words for word in ("FILE", "PATH", "DIR"))
        if action.nargs != 0 and not action.choices and takes_path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
