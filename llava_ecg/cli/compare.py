"""``llava-ecg compare``: runs of ``llava-ecg eval`` beside each other and beside what is published."""

from __future__ import annotations

import argparse
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava_ecg.cli import flags
from llava_ecg.cli.evaluate import MISSING
from llava_ecg.cli.flags import Opener
from llava_ecg.errors import InputError
from llava_ecg.terminal import show, show_json

if TYPE_CHECKING:
    from llava_ecg.eval.runs import Outcome


def add(commands: Any) -> None:
    """Declare ``compare``."""
    parser = flags.command(
        commands,
        "compare",
        "put runs of llava-ecg eval into one table, with intervals and a paired test, beside what is published",
        "llava-ecg compare runs/mine runs/gem-7b --markdown table.md --plot table.png",
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=flags.path,
        metavar="RUN",
        help="folders that --out of eval named; the first is compared with",
    )
    parser.add_argument("--tasks", metavar="NAME,...", help="these tasks alone (default: all that the runs have)")
    for name, ending in (("markdown", "md"), ("csv", "csv"), ("plot", "png")):
        parser.add_argument(
            f"--{name}", type=flags.path, metavar=f"FILE.{ending}", help=f"write it as {ending.upper()}, too"
        )
    parser.add_argument(
        "--seed",
        type=flags.number("seed", int, 0, 2**63 - 1),
        default=0,
        help="of resamples and of the paired test (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else to standard output")
    parser.set_defaults(run=run_compare)


def run_compare(arguments: argparse.Namespace, _: Opener | None) -> int:
    """Print the table, and write it where that is wanted."""
    from llava_ecg.files import check_target

    for name, endings in (("markdown", (".md",)), ("csv", (".csv",)), ("plot", (".png",))):
        if (target := vars(arguments)[name]) is not None:
            check_target(target, endings)
    if find_spec("inspect_ai") is None:
        raise InputError(MISSING)
    from llava_ecg.eval.compare import compare

    table = compare(_runs(arguments), seed=arguments.seed)
    _write(table, arguments)
    if arguments.json:
        show_json({"rows": [vars(row) for row in table.rows], "notes": list(table.notes)})
    else:
        from llava_ecg.eval.compare import as_text

        show(as_text(table).rstrip("\n"))
    return 0


def _runs(arguments: argparse.Namespace) -> dict[str, list[Outcome]]:
    """Name -> tasks; a run is called as its model, and by its folder too where two runs have the same."""
    from llava_ecg.eval.runs import outcomes

    if len({path.resolve() for path in arguments.runs}) < len(arguments.runs):
        raise InputError("a folder is named twice; name each run once")
    wanted = None if arguments.tasks is None else [each.strip() for each in arguments.tasks.split(",")]
    found: list[tuple[Path, str, list[Outcome]]] = []
    for path in arguments.runs:
        told = [each for each in outcomes(path) if wanted is None or each.task.name in wanted]
        if not told:
            raise InputError(f"{path} has no run of {arguments.tasks}")
        found.append((path, told[0].model.removeprefix("llava_ecg/"), told))
    often = Counter(model for _, model, _ in found)
    return {model if often[model] == 1 else f"{model} [{path}]": told for path, model, told in found}


def _write(table: Any, arguments: argparse.Namespace) -> None:
    from llava_ecg.eval.compare import as_csv, as_markdown
    from llava_ecg.files import write_bytes, write_image

    for name, write in (("markdown", as_markdown), ("csv", as_csv)):
        if (target := vars(arguments)[name]) is not None:
            write_bytes(target, write(table).encode("utf-8"))
    if arguments.plot is not None:
        from llava_ecg.eval.compare_picture import draw

        write_image(arguments.plot, draw(table))
