"""``llava-ecg validate``: what is wrong with a set of records, before anything is trained on it."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from llava_ecg.cli import flags
from llava_ecg.cli.flags import Opener
from llava_ecg.data.bar import Bar
from llava_ecg.errors import InputError
from llava_ecg.terminal import show, show_json

if TYPE_CHECKING:
    from llava_ecg.data.checker import Checker


def add(commands: Any) -> None:
    """Declare ``validate``."""
    parser = flags.command(
        commands,
        "validate",
        "list every problem of a set of records: bad JSON, turns, markers, files, and with a model lengths",
        "llava-ecg validate train.json --ecg_folder ecgs --model gem-tiny",
    )
    parser.add_argument(
        "data",
        type=flags.name_or_path,
        metavar="DATA",
        help="LLaVA JSON, JSONL, a mixture (data.yaml), or the name of a data set (llava-ecg list datasets)",
    )
    for name, what in (("ecg_folder", "the files of ecg"), ("image_folder", "the files of image")):
        parser.add_argument(
            f"--{name}",
            f"--{name.replace('_', '-')}",
            type=flags.path,
            default=".",
            metavar="DIR",
            help=f"folder that {what} are relative to (default: this one)",
        )
    parser.add_argument(
        "--model",
        type=flags.name_or_path,
        metavar="DIR|NAME|HUB_ID",
        help="that is to be trained: checks lengths, what is learnt from, and what its preparation takes; no weights "
        "are read",
    )
    flags.add_base(parser)
    parser.add_argument(
        "--max_length",
        "--max-length",
        type=flags.number("max_length", int, 1, 10**9),
        metavar="TOKENS",
        help="longest sequence, with --model (default: the model's)",
    )
    parser.add_argument(
        "--render_pages",
        "--render-pages",
        action="store_true",
        help="draw the page of a record without one, as in training; with --model",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else to standard output")
    parser.add_argument(
        "--processes",
        type=flags.number("processes", int, 1, 1024),
        metavar="N",
        help="that look at records (default: one a core)",
    )
    parser.set_defaults(run=run_validate)


def run_validate(arguments: argparse.Namespace, _: Opener | None) -> int:
    """Print the problems; exit code 1 where there are any."""
    from llava_ecg.data.named import data_file
    from llava_ecg.data.validate import validate

    processes = arguments.processes or _cores()
    progress = Bar() if sys.stderr.isatty() else None
    try:
        found = validate(data_file(arguments.data), _checker(arguments), processes=processes, progress=progress)
    finally:
        if progress is not None:
            progress.clear()
    kinds = Counter(problem.kind for problem in found.problems)
    if arguments.json:
        show_json(
            {
                "data": str(arguments.data),
                "records": found.records,
                "bad_records": found.bad,
                "kinds": dict(kinds),
                "problems": [problem.to_dict() for problem in found.problems],
            }
        )
    else:
        show(*map(str, found.problems), *_summary(found.records, found.bad, kinds))
    return 1 if found.problems else 0


def _cores() -> int:
    """Those that this process may use, where the system says it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _summary(records: int, bad: int, kinds: Counter[str]) -> list[str]:
    if not bad:
        return [f"{records} record{'s'[: records != 1]}, no problems"]
    counts = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
    return [f"{bad} of {records} record{'s'[: records != 1]} with problems: {counts}"]


def _checker(arguments: argparse.Namespace) -> Checker:
    from llava_ecg.data.checker import Checker
    from llava_ecg.data.conversation import STREAMS
    from llava_ecg.ecg.check import check_ecg, check_image

    files = dict(zip(STREAMS, (check_ecg, check_image), strict=True))
    folders = {stream: vars(arguments)[f"{stream}_folder"] for stream in STREAMS}
    if arguments.model is None:
        for name in ("max_length", "render_pages", "base"):
            if vars(arguments)[name]:
                raise InputError(f"--{name} needs a model; name the one that is to be trained with --model")
        return Checker(files, folders)
    from dataclasses import replace

    from llava_ecg.processor import Processor

    processor = Processor.from_pretrained(arguments.model, base=arguments.base)
    encoder = replace(processor.encoder, derive=arguments.render_pages)
    longest = processor.model_max_length if arguments.max_length is None else arguments.max_length
    return Checker(files, folders, encoder, longest)
