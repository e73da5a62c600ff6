"""``llava-ecg measure``, ``render`` and ``convert-ecg``: an ECG without any model."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from llava_ecg.cli import flags, many
from llava_ecg.cli.flags import Opener
from llava_ecg.errors import InputError
from llava_ecg.terminal import RESEARCH_USE, show, show_json

if TYPE_CHECKING:
    from PIL.Image import Image

    from llava_ecg.ecg.recording import Recording

PAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
ECG_SUFFIXES = (".hea", ".dcm", ".csv", ".npz", ".edf")
TITLE_LETTERS = 40  # more would run into the heading


def add(commands: Any) -> None:
    """Declare ``measure``, ``render`` and ``convert-ecg``."""
    measure = flags.command(
        commands,
        "measure",
        "measure rate, intervals, axis and amplitudes of an ECG",
        "llava-ecg measure patient.hea --json",
    )
    measure.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="the ECG: WFDB, DICOM, MUSE, Sierra, aECG, EDF, npy, csv, ...; or a folder, a pattern, a list of files",
    )
    flags.add_part(measure)
    measure.add_argument(
        "--every",
        type=flags.number("every", float, 10, 86_400),
        metavar="S",
        help="of a long recording: rate and rhythm of each stretch of so many seconds, which is all that is held",
    )
    measure.add_argument("--plot", type=Path, metavar="PNG", help="with --every: draw the rate over time")
    flags.add_reading(measure)
    measure.add_argument(
        "--json", action="store_true", help="print one JSON object and nothing else to standard output"
    )
    measure.set_defaults(run=run_measure)

    render = flags.command(
        commands, "render", "draw an ECG as a 12-lead page at true scale", "llava-ecg render patient.hea -o page.png"
    )
    render.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="the ECG: WFDB, DICOM, MUSE, Sierra, aECG, EDF, npy, csv, ...; or a folder, a pattern, a list of files",
    )
    render.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="PAGE",
        required=True,
        help=f"the image to write: {', '.join(PAGE_SUFFIXES)}; a folder where there are several ECGs",
    )
    render.add_argument(
        "--dpi",
        type=flags.number("dpi", int, 50, 600),
        default=200,
        help="dots an inch, 50 to 600 (default: %(default)s)",
    )
    render.add_argument(
        "--layout",
        choices=("3x4", "3x4+1", "3x4+3", "6x2", "12x1"),
        default="3x4+1",
        help="rows and columns of leads, and rhythm strips below (default: %(default)s)",
    )
    render.add_argument(
        "--paper", choices=("letter", "a4"), default="letter", help="size of the sheet (default: %(default)s)"
    )
    render.add_argument(
        "--colour",
        choices=("red", "pink", "blue", "grey", "green", "none"),
        default="red",
        help="of the grid (default: %(default)s)",
    )
    render.add_argument(
        "--gain",
        type=flags.number("gain", float, 0.5, 80),
        metavar="MM_PER_MV",
        help="(default: 10, or 5 or 2.5 where a trace needs it)",
    )
    render.add_argument(
        "--speed",
        type=float,
        choices=(12.5, 25.0, 50.0),
        default=25.0,
        help="of the paper, mm/s (default: %(default)g)",
    )
    render.add_argument(
        "--start", type=flags.number("start", float, 0, 1e7), default=0.0, help="where the page begins, s (default: 0)"
    )
    render.add_argument("--heading", action="store_true", help="write date, rate, intervals and axis at the top")
    render.add_argument("--person", action="store_true", help="with --heading, write age and sex too")
    render.add_argument(
        "--title", metavar="TEXT", default="", help=f"printed at the top, up to {TITLE_LETTERS} letters"
    )
    _add_distortions(render)
    flags.add_reading(render)
    render.set_defaults(run=run_render)

    convert = flags.command(
        commands,
        "convert-ecg",
        "write an ECG in another format, without who the patient is",
        "llava-ecg convert-ecg export.xml patient.hea",
    )
    convert.add_argument("file", type=Path, metavar="FILE", help="the ECG, in any format that measure reads")
    flags.add_part(convert)
    convert.add_argument(
        "output", type=Path, metavar="OUT", help=f"the file to write: {', '.join(ECG_SUFFIXES)}; .hea brings a .dat"
    )
    flags.add_reading(convert)
    convert.set_defaults(run=run_convert)


def _add_distortions(render: argparse.ArgumentParser) -> None:
    render.add_argument(
        "--distort",
        type=flags.number("distort", float, 0, 1),
        metavar="STRENGTH",
        help="turn, fold, shade, write on, blur, crop ... the page as paper and cameras do: 0 (not at all) to 1",
    )
    render.add_argument(
        "--kinds",
        type=lambda text: tuple(text.split(",")),
        metavar="NAMES",
        help="with --distort: do these and no others, of marks, wrinkles, perspective, rotation, crop, shadow, blur, "
        "noise, jpeg, with commas between (default: some, drawn by the seed)",
    )
    render.add_argument(
        "--seed",
        type=flags.number("seed", int, 0, 2**31),
        help="with --distort: what is drawn; of several ECGs, each draws with its name too (default: 0)",
    )
    render.add_argument(
        "--boxes",
        type=Path,
        metavar="JSON",
        help="write where each lead is on the page, distorted as it is; a folder where there are several ECGs",
    )


def run_measure(arguments: argparse.Namespace, _: Opener | None) -> int:
    """Print the measurements of one recording."""
    from llava_ecg import files, report
    from llava_ecg.ecg.measure import measure
    from llava_ecg.ecg.measurement_table import device_table

    if many.is_many(arguments.file):
        if arguments.every is not None or arguments.plot is not None:
            raise InputError("--every and --plot are for one recording; give its file")
        return many.measure_many(arguments)
    if arguments.every is not None:
        return _trend(arguments)
    if arguments.plot is not None:
        raise InputError("--plot draws what --every measures; give both")
    recording = files.read_recording(arguments.file, **flags.reading(arguments))
    measurements = measure(recording)
    if arguments.json:
        found = {"recording": report.recording_dict(recording), "measurements": report.plain(measurements.to_dict())}
        show_json(found)
    else:
        device = device_table(measurements, recording.metadata)
        lines = [*report.recording_lines(recording), "", *measurements.table().split("\n")]
        show(*lines, *(["", *device.split("\n")] if device else []), "", RESEARCH_USE)
    return 0


def _trend(arguments: argparse.Namespace) -> int:
    """Print rate and rhythm of a long recording stretch by stretch."""
    from dataclasses import asdict

    from llava_ecg import files
    from llava_ecg.ecg.formats import parts_of
    from llava_ecg.ecg.trend import trend, trend_lines, trend_plot

    if arguments.plot is not None:
        files.check_target(arguments.plot, PAGE_SUFFIXES)
    reading = {name: value for name, value in flags.reading(arguments).items() if name not in ("start", "seconds")}
    duration, part = parts_of(arguments.file, **reading)
    begin = arguments.start
    if begin >= duration:
        raise InputError(f"{arguments.file} is {duration:.1f} s long, so nothing is there from {begin:g} s on")
    length = min(duration - begin, duration if arguments.seconds is None else arguments.seconds)
    found = list(trend(lambda start, seconds: part(begin + start, seconds), length, arguments.every))
    if arguments.plot is not None:
        files.write_image(arguments.plot, trend_plot(found))
    if arguments.json:
        show_json({"file": str(arguments.file), "start_s": begin, "stretches": [asdict(each) for each in found]})
    else:
        title = f"ECG      {arguments.file}, {length:.0f} s from {begin:g} s on, each {arguments.every:g} s"
        show(title, "", *trend_lines(found), "", RESEARCH_USE)
    return 0


def run_render(arguments: argparse.Namespace, _: Opener | None) -> int:
    """Write the page of one recording."""
    from llava_ecg import files

    _check_page(arguments)
    if many.is_many(arguments.file):
        return many.render_many(
            arguments, lambda path: _shown(path, arguments), lambda shown, name: _page(shown, arguments, name)
        )
    files.check_target(arguments.output, PAGE_SUFFIXES)
    if arguments.boxes is not None:
        files.check_target(arguments.boxes, (".json",))
    page, boxes = _page(_shown(arguments.file, arguments), arguments)
    files.write_image(arguments.output, page)
    show(f"{arguments.output} ({page.width} x {page.height} pixels)")
    if arguments.boxes is not None:
        files.write_json(arguments.boxes, boxes)
        show(f"{arguments.boxes} ({len(boxes['boxes'])} boxes)")
    return 0


def _check_page(arguments: argparse.Namespace) -> None:
    """Refuse flags that would be passed over, and distortions that aren't there, before any ECG is read."""
    from llava_ecg.ecg.distort import check_kinds

    check_kinds(arguments.kinds or ())
    for flag in ("kinds", "seed"):
        if getattr(arguments, flag) is not None and arguments.distort is None:
            raise InputError(f"--{flag} says how --distort works; give both")
    if arguments.person and not arguments.heading:
        raise InputError("--person adds to what --heading writes; give both")
    if len(arguments.title) > TITLE_LETTERS or not arguments.title.isprintable():
        raise InputError(f"--title is one line of up to {TITLE_LETTERS} letters, not {arguments.title!r}; shorten it")


class Shown(NamedTuple):
    """What a page needs of a recording: the part of it, where in the whole it begins and how long the whole is, s."""

    recording: Recording
    begin: float
    duration: float


def _shown(path: Path, arguments: argparse.Namespace) -> Shown:
    """Read no more than the page shows, from a full second on, so that samples lie where they do in the whole.

    Raises:
        InputError: the recording can't be read, or ends before the page begins.
    """
    from llava_ecg.ecg.formats import parts_of
    from llava_ecg.ecg.render import SHOWN_MM

    duration, part = parts_of(path, **flags.reading(arguments))
    if arguments.start >= duration:
        raise InputError(f"the page can't begin at {arguments.start:g} s: the recording is {duration:.1f} s long")
    begin = math.floor(arguments.start)
    return Shown(part(begin, arguments.start - begin + SHOWN_MM / arguments.speed + 1), begin, duration)


def _page(shown: Shown, arguments: argparse.Namespace, name: str = "") -> tuple[Image, dict[str, Any]]:
    """The page of a recording and where its leads are, as the flags say.

    Args:
        name: of one among several, so that their distortions differ.
    """
    import zlib

    from llava_ecg.ecg.distort import distort
    from llava_ecg.ecg.render import SHOWN_MM, draw_page

    start = arguments.start - shown.begin
    page = draw_page(
        shown.recording,
        dpi=arguments.dpi,
        layout=arguments.layout,
        paper=arguments.paper,
        colour=arguments.colour,
        gain=arguments.gain,
        speed=arguments.speed,
        start=start,
        title=arguments.title,
        heading=_heading(shown.recording.window(start, SHOWN_MM / arguments.speed), arguments),
        part_of=(shown.begin, shown.duration),
    )
    seed = (arguments.seed or 0) + (zlib.crc32(name.encode("utf-8", "surrogateescape")) if name else 0)
    made = distort(page, seed, arguments.distort or 0.0, arguments.kinds)
    return made.image, made.to_dict()


def run_convert(arguments: argparse.Namespace, _: Opener | None) -> int:
    """Write one recording in another format."""
    from llava_ecg import files, report
    from llava_ecg.ecg.formats.write import as_written

    target = files.check_target(arguments.output, ECG_SUFFIXES)
    if _is_written_over(arguments.file, target):
        raise InputError(f"{target} would be written over itself; choose another name")
    recording = as_written(files.read_recording(arguments.file, **flags.reading(arguments)), target)
    made = files.write_recording(recording, target)
    show(*report.recording_lines(recording), "", " ".join(f"{path} ({size:,} bytes)" for path, size in made.items()))
    return 0


def _is_written_over(source: Path, target: Path) -> bool:
    """Whether writing the target replaces a file of the source: itself, its header, its signal file."""
    of_it = (source, Path(f"{source}.hea"), source.with_suffix(".hea"), source.with_suffix(".dat"))
    written = (target, target.with_suffix(".dat")) if target.suffix.lower() == ".hea" else (target,)
    return any(one.exists() and other.exists() and one.samefile(other) for one in of_it for other in written)


def _heading(shown: Recording, arguments: argparse.Namespace) -> tuple[str, ...]:
    """The lines at the top of the page, of what it shows; none unless they were asked for."""
    if not arguments.heading:
        return ()
    from llava_ecg.ecg.heading import heading
    from llava_ecg.ecg.measure import measure

    return heading(shown, measure(shown), person=arguments.person)
