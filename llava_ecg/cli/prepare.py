"""``llava-ecg prepare``: makes the files that tasks of ``llava-ecg eval`` read."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from llava_ecg.cli import flags
from llava_ecg.cli.flags import Opener
from llava_ecg.terminal import show, show_json

_SHOWN = 5


def add(commands: Any) -> None:
    """Declare ``prepare``."""
    parser = flags.command(
        commands,
        "prepare",
        "join the question files of a benchmark to the records that they are about",
        "llava-ecg prepare ecgbench --questions ECGBench --ecg PTBXL=ptb-xl --ecg CODE15=code15 --out data",
    )
    parser.add_argument("benchmark", choices=("ecgbench",), help="whose question files these are")
    parser.add_argument(
        "--questions",
        type=flags.path,
        required=True,
        metavar="DIR",
        help="folder of the question files: ptb-test.json, code15-test.json, ecg-grounding-test-ptbxl.json, ...",
    )
    parser.add_argument(
        "--ecg",
        type=_named,
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="records of a data set: PTBXL, CODE15, CPSC, CSN, G12EC or MIMIC; again for each",
    )
    parser.add_argument(
        "--images", type=flags.path, metavar="DIR", help="the images that questions name (default: QUESTIONS/images)"
    )
    parser.add_argument("--out", type=flags.path, required=True, metavar="DIR", help="data folder for llava-ecg eval")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else to standard output")
    parser.set_defaults(run=run_prepare)


def _named(text: str) -> tuple[str, Path]:
    """An argparse type: ``NAME=DIR``."""
    name, equals, path = text.partition("=")
    if not (name.strip() and equals and path.strip()):
        raise argparse.ArgumentTypeError(f"records are given as NAME=DIR, such as PTBXL=ptb-xl, not {text!r}")
    return name.strip(), Path(path)


def run_prepare(arguments: argparse.Namespace, _: Opener | None) -> int:
    """Write the files and list what was not found; exit code 1 where something was not."""
    from llava_ecg.errors import InputError
    from llava_ecg.eval.prepare import FOLDER, UNRESOLVED, prepare

    ecgs: dict[str, Path] = {}
    for name, root in arguments.ecg:
        if name in ecgs:
            raise InputError(f"--ecg names {name} twice: {ecgs[name]} and {root}; give one folder")
        ecgs[name] = root
    found = prepare(arguments.questions, ecgs, arguments.out, arguments.images)
    if arguments.json:
        rows: list[dict[str, Any]] = [
            {
                "file": each.name,
                "data_set": each.cohort,
                "questions": each.questions,
                "written": None if each.written is None else str(each.written),
                "unresolved": [{"id": one, "named": named, "why": why} for one, named, why in each.unresolved],
            }
            for each in found
        ]
        show_json({"files": rows})
    else:
        for each in found:
            if each.written is None:
                show(f"{each.name}: left out, {each.questions} questions; give their records, --ecg {each.cohort}=DIR")
                continue
            show(f"{each.name}: {each.questions} questions, {len(each.unresolved)} unresolved, in {each.written}")
            for one, named, why in each.unresolved[:_SHOWN]:
                show(f"  {one}: {named or '-'}: {why}")
            if len(each.unresolved) > _SHOWN:
                show(f"  and {len(each.unresolved) - _SHOWN} more, all in {arguments.out / FOLDER / UNRESOLVED}")
    return 1 if any(each.unresolved for each in found) else 0
