"""``llava-ecg instruct``: instruction data from recordings and what was said of them, checked before it is kept."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava_ecg.cli import flags, instruct_remote
from llava_ecg.cli.flags import Opener
from llava_ecg.cli.progress import Progress
from llava_ecg.errors import InputError
from llava_ecg.terminal import show, show_json

if TYPE_CHECKING:
    from llava_ecg.instruct.engines import Engine
    from llava_ecg.instruct.remote_writer import RemoteWriter
    from llava_ecg.instruct.summary import Options, Summary
    from llava_ecg.instruct.writer import Writer


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
    parser.add_argument(
        "--writer",
        choices=("offline", "remote"),
        default="offline",
        help="of the texts: a table of phrases, or a model behind an endpoint (default: %(default)s)",
    )
    parser.add_argument(
        "--protocol",
        choices=("gem", "six-step"),
        default="gem",
        help="of full interpretations: one paragraph, or six numbered steps (default: %(default)s)",
    )
    parser.add_argument(
        "--attempts",
        type=flags.number("attempts", int, 1, 100),
        default=4,
        metavar="N",
        help="versions of a text, each after the one before was refused, before it is dropped (default: %(default)s)",
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
    _add_engine(parser)
    instruct_remote.add(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else to standard output")
    parser.set_defaults(run=run_instruct)


def _add_engine(parser: argparse.ArgumentParser) -> None:
    """--processes, --engine, --cluster."""
    group = parser.add_argument_group("where it is done; the lines are the same with each")
    group.add_argument(
        "--processes",
        type=flags.number("processes", int, 1, 100_000),
        metavar="N",
        help="at work at once, with one core each (default: 1; with --engine ray what Ray finds)",
    )
    group.add_argument(
        "--engine",
        choices=("processes", "ray"),
        default="processes",
        help="processes of this machine, or Ray Data, which needs the extra [ray] (default: %(default)s)",
    )
    group.add_argument(
        "--cluster",
        type=flags.name_or_path,
        metavar="ADDRESS",
        help="of a Ray cluster whose machines see the same files: auto, or ray://HOST:10001 (default: this machine)",
    )


def run_instruct(arguments: argparse.Namespace, _: Opener | None) -> int:
    """Write the set and say what became of it; exit code 1 where a remote writer's budget or endpoint ended it."""
    if arguments.out.suffix.lower() != ".jsonl":
        raise InputError(f"--out is a file with a record a line, whose name ends in .jsonl, not {arguments.out.name}")
    if arguments.writer == "remote":
        with instruct_remote.writer(arguments) as writer:
            from llava_ecg.instruct.engines import Threads

            budget = writer.asker.budget
            engine = Threads(instruct_remote.given(arguments, "at_once"), lambda: budget.stop("it is over"))
            return _made(arguments, writer, engine, writer)
    instruct_remote.refuse_without(arguments)
    from llava_ecg.instruct.guide import guide
    from llava_ecg.instruct.writer import OfflineWriter

    return _made(arguments, OfflineWriter(guide(), arguments.protocol, arguments.seed), _engine(arguments), None)


def _made(arguments: argparse.Namespace, writer: Writer, engine: Engine, remote: RemoteWriter | None) -> int:
    from llava_ecg.instruct.budget import StoppedError
    from llava_ecg.instruct.produce import produce
    from llava_ecg.instruct.sources import listed

    options = _options(arguments)
    found = listed(arguments.records, arguments.reports, arguments.limit)
    told = _Told(arguments.out)
    try:
        summary = produce(found, writer, options, told, engine)
    except (KeyboardInterrupt, StoppedError) as ended:
        told.end()
        said = f"{ended}; " if isinstance(ended, StoppedError) else ""
        show(f"{said}what is done is kept, and the same command goes on there", file=sys.stderr)
        if remote is not None:
            show(*instruct_remote.told(remote), file=sys.stderr)
        if isinstance(ended, StoppedError):
            return 1
        raise
    told.end()
    if arguments.json:
        known = {"out": str(arguments.out), "folder": str(found.folder), "unmatched_rows": found.unmatched}
        spent = {"remote": instruct_remote.spent_by(remote)} if remote is not None else {}
        show_json(known | summary.to_dict() | spent)
    else:
        show(*_told(summary, options, found.unmatched), *(instruct_remote.told(remote) if remote is not None else ()))
    return 0


def _options(arguments: argparse.Namespace) -> Options:
    from llava_ecg.instruct.summary import Options

    out = arguments.out
    for flag in ("facts", "images"):
        if vars(arguments)[flag] is not None and vars(arguments)[flag].is_file():
            raise InputError(f"--{flag} is a folder, and {vars(arguments)[flag]} is a file; name another")
    if not arguments.records.exists():
        raise InputError(f"there is no {arguments.records}; --records is a folder of recordings or a CSV list of them")
    return Options(
        out=out,
        facts=arguments.facts or out.with_name(f"{out.stem}.facts"),
        images=arguments.images,
        gem=arguments.measurements == "gem",
        val=arguments.val,
        attempts=arguments.attempts,
    )


def _engine(arguments: argparse.Namespace) -> Engine:
    """Where it is done."""
    from llava_ecg.instruct.engines import Here, Processes

    if arguments.engine == "ray":
        from llava_ecg.instruct.on_ray import RayData

        return RayData(arguments.cluster, arguments.processes)
    if arguments.cluster is not None:
        raise InputError("--cluster is for Ray; give --engine ray with it")
    return Processes(arguments.processes) if (arguments.processes or 1) > 1 else Here()


class _Told:
    """How far it is, on standard error: and first what a run before this one did."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.line: Progress | None = None

    def __call__(self, done: int, whole: int) -> None:
        if self.line is None:
            if done:
                show(f"{self.out}: {done:,} of {whole:,} recordings are there already", file=sys.stderr)
            self.line = Progress(whole, done)
        else:
            self.line.add(done - self.line.done)

    def end(self) -> None:
        """The last word."""
        if self.line is not None:
            self.line.end()


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
    if summary.given_up:
        told.append(f"{options.beside('setaside')}: texts of which no version passed: {_counts(summary.given_up)}")
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
