"""``llava-ecg fetch``, ``inspect``, ``convert`` and ``merge``: checkpoints as folders of files."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llava_ecg.cli import flags
from llava_ecg.cli.flags import Opener
from llava_ecg.terminal import show, show_json

CHECKPOINT = "checkpoint in any layout of docs/checkpoints.md: a folder, a file, a name or a hub id"


def add(commands: Any) -> None:
    """Declare ``fetch``, ``inspect``, ``convert`` and ``merge``."""
    _add_fetch(commands)
    _add_inspect(commands)
    _add_convert(commands)
    _add_merge(commands)


def _add_fetch(commands: Any) -> None:
    parser = flags.command(
        commands,
        "fetch",
        "get the language model of an embedded checkpoint, checked and cached",
        "llava-ecg fetch gem-tiny",
    )
    parser.add_argument(
        "name", nargs="?", default=flags.DEFAULT_MODEL, metavar="NAME", help="which checkpoint (default: %(default)s)"
    )
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="FILE", help="take it from this file and not from the network"
    )
    parser.set_defaults(run=run_fetch)


def _add_inspect(commands: Any) -> None:
    parser = flags.command(
        commands,
        "inspect",
        "show what a checkpoint holds, from the headers of its files: layout, parts, preparation, what is missing "
        "or left over",
        "llava-ecg inspect ./GEM-7B --json",
    )
    parser.add_argument("path", type=flags.name_or_path, metavar="PATH", help=CHECKPOINT)
    flags.add_parts(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else to standard output")
    parser.set_defaults(run=run_inspect)


def _add_convert(commands: Any) -> None:
    parser = flags.command(
        commands,
        "convert",
        "write a checkpoint in another layout",
        "llava-ecg convert ./my-finetuned-gem ./GEM-mine --to llava",
    )
    parser.add_argument("source", type=flags.name_or_path, metavar="SRC", help=CHECKPOINT)
    parser.add_argument("target", type=flags.path, metavar="DST", help="folder to write")
    parser.add_argument(
        "--to",
        required=True,
        choices=("llava", "ours", "encoder"),
        help="llava: as LLaVA and GEM are released; ours: as training saves it; encoder: the ECG encoder alone",
    )
    flags.add_parts(parser)
    flags.add_trust(parser)
    flags.add_shard_size(parser)
    parser.set_defaults(run=run_convert)


def _add_merge(commands: Any) -> None:
    parser = flags.command(
        commands,
        "merge",
        "add a LoRA to its base, keeping projectors and tuned towers",
        "llava-ecg merge ./GEM-lora --base ./GEM-7B ./GEM-merged",
    )
    parser.add_argument("lora", type=flags.name_or_path, metavar="LORA", help="folder of the adapter")
    parser.add_argument("target", type=flags.path, metavar="DST", help="folder to write")
    flags.add_base(parser)
    flags.add_trust(parser)
    flags.add_shard_size(parser)
    parser.set_defaults(run=run_merge)


def run_fetch(arguments: argparse.Namespace, _: Opener | None) -> int:
    """Print the folder where the language model lies now."""
    from llava_ecg.checkpoint.places.fetch import fetch

    show(str(fetch(arguments.name, arguments.source, progress=_say)))
    return 0


def run_inspect(arguments: argparse.Namespace, _: Opener | None) -> int:
    """Print what lies in a checkpoint; what is missing is part of the report and no failure."""
    from llava_ecg.checkpoint.inspect import inspect

    with contextlib.redirect_stdout(sys.stderr):  # no library's chatter gets into the JSON
        found = inspect(
            arguments.path, base=arguments.base, ecg_tower=arguments.ecg_tower, vision_tower=arguments.vision_tower
        )
    if arguments.json:
        show_json(found.to_dict())
    else:
        show(*found.lines())
    return 0


def run_convert(arguments: argparse.Namespace, _: Opener | None) -> int:
    """Write a checkpoint in another layout and print where it is."""
    from llava_ecg.model.convert import convert

    parts = {"base": arguments.base, "ecg_tower": arguments.ecg_tower, "vision_tower": arguments.vision_tower}
    return _write(convert, arguments, arguments.source, arguments.target, arguments.to, **parts)


def run_merge(arguments: argparse.Namespace, _: Opener | None) -> int:
    """Write a LoRA and its base as one checkpoint and print where it is."""
    from llava_ecg.model.convert import merge

    return _write(merge, arguments, arguments.lora, arguments.target, base=arguments.base)


def _write(write: Callable[..., Path], arguments: argparse.Namespace, *words: Any, **parts: Any) -> int:
    """Let ``write`` work, its progress on stderr, and print the path that it returns: standard output has that and
    nothing else."""
    result = sys.stdout
    size = round(arguments.shard_size * flags.GIGABYTE)
    with contextlib.redirect_stdout(sys.stderr):
        written = write(*words, **parts, trust_pickle=arguments.trust_pickle, shard_size=size, progress=_say)
    show(str(written), file=result)
    return 0


def _say(line: str) -> None:
    show(line, file=sys.stderr)
