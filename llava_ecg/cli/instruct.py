"""``llava-ecg instruct``: instruction data from recordings and what was said of them, checked before it is kept."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from llava_ecg.cli import flags
from llava_ecg.cli.flags import Opener
from llava_ecg.cli.validate import Bar
from llava_ecg.errors import InputError
from llava_ecg.terminal import show, show_json

if TYPE_CHECKING:
    from llava_ecg.instruct.produce import Options, Summary


def add(commands: Any) -> None:
    """Declare ``instruct``."""
    parser = flags.command(
        commands,
        "instruct",
        "write instruction data (LLaVA JSONL) from recordings and their reports, each text audited against the signal",
        "llava-ecg instruct --records ecgs --reports reports.csv --out grounding.jsonl",
    )
    parser.add_argument(
        "--records",
        type=flags.path,
        required=True,
        metavar="DIR|LIST.csv",
        help="a folder of WFDB and DICOM files, or a list with a column named record",
    )
    parser.add_argument(
        "--reports",
        type=flags.path,
        metavar="FILE.csv",
        help="a row a recording: report, snomed or scp_codes, patient, sex, age, split; PTB-XL's and MIMIC-IV-ECG's "
        "tables as they are (default: what headers and list say)",
    )
    parser.add_argument("--out", type=flags.path, required=True, metavar="FILE.jsonl", help="the lines for training")
    parser.add_argument("--writer", choices=("offline",), default="offline", help="of the texts (default: %(default)s)")
    parser.add_argument(
        "--protocol",
        choices=("gem", "six-step"),
        default="gem",
        help="of full interpretations: one paragraph, or six numbered steps (default: %(default)s)",
    )
    parser.add_argument(
        "--images", type=flags.path, metavar="DIR", help="draw the page of each recording here and name it"
    )
    parser.add_argument("--measurements", choices=("gem",), help="put GEM's machine_measurements into each line")
    parser.add_argument(
        "--facts",
        type=flags.path,
        metavar="DIR",
        help="where what was measured is kept (default: OUT.facts beside OUT)",
    )
    parser.add_argument(
        "--val",
        type=flags.number("val", float, 0, 0.9),
        default=0.05,
        metavar="SHARE",
        help="of the patients, kept for validation where the table does not say it (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=flags.number("seed", int, 0, 2**63 - 1), default=0, help="(default: %(default)s)"
    )
    parser.add_argument(
        "--limit", type=flags.number("limit", int, 1, 10**9), metavar="N", help="take only the first N recordings"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else to standard output")
    parser.set_defaults(run=run_instruct)


def run_instruct(arguments: argparse.Namespace, _: Opener | None) -> int:
    """Write the set and say what became of it."""
    from llava_ecg.instruct.guide import guide
    from llava_ecg.instruct.produce import Options, produce
    from llava_ecg.instruct.sources import listed
    from llava_ecg.instruct.writer import OfflineWriter

    out = arguments.out
    if out.suffix.lower() != ".jsonl":
        raise InputError(f"--out is a file with a record a line, whose name ends in .jsonl, not {out.name}")
    for flag in ("facts", "images"):
        if vars(arguments)[flag] is not None and vars(arguments)[flag].is_file():
            raise InputError(f"--{flag} is a folder, and {vars(arguments)[flag]} is a file; name another")
    if not arguments.records.exists():
        raise InputError(f"there is no {arguments.records}; --records is a folder of recordings or a CSV list of them")
    options = Options(
        out=out,
        facts=arguments.facts or out.with_name(f"{out.stem}.facts"),
        images=arguments.images,
        gem=arguments.measurements == "gem",
        val=arguments.val,
    )
    found = listed(arguments.records, arguments.reports, arguments.limit)
    writer = OfflineWriter(guide(), arguments.protocol, arguments.seed)
    bar = Bar() if sys.stderr.isatty() else None
    try:
        summary = produce(found, writer, options, bar)
    finally:
        if bar is not None:
            bar.clear()
    if arguments.json:
        show_json({"out": str(out), "folder": str(found.folder), "unmatched_rows": found.unmatched} | summary.to_dict())
    else:
        show(*_told(summary, options, found.unmatched))
    return 0


def _told(summary: Summary, options: Options, unmatched: int) -> list[str]:
    lines = summary.lines
    told = [
        f"{summary.recordings} recordings, {summary.measured} of them measured now, {summary.set_aside} set aside, "
        f"{summary.failures} failures",
        f"{options.out}: {lines['train']} lines",
    ]
    if lines["val"]:
        told.append(f"{options.beside('val')}: {lines['val']} lines")
    if summary.set_aside:
        told.append(f"{options.beside('setaside')}: {_counts(summary.set_aside_for)}")
    if summary.failures:
        told.append(f"{options.beside('failures')}: why they could not be read")
    told.append(f"tasks: {_counts(summary.tasks)}")
    told.append(f"claims: {_counts(summary.audit)}")
    told.append(f"drafts: {summary.drafts}, refused: {_counts(summary.refused) or 'none'}")
    if summary.pages_left_out:
        told.append(f"{summary.pages_left_out} recordings have no page, since their values are not in mV")
    if unmatched:
        told.append(f"{unmatched} rows of the reports are about none of these recordings")
    return told


def _counts(counted: Any) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counted.items(), key=lambda pair: -pair[1]))
