"""``llava-ecg measure``, ``render`` and ``convert-ecg``: an ECG without any model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava_ecg.cli import flags, many
from llava_ecg.cli.flags import Opener
from llava_ecg.errors import InputError
from llava_ecg.terminal import RESEARCH_USE, show, show_json

if TYPE_CHECKING:
    from PIL.Image import Image

    from llava_ecg.ecg.recording import Recording

PAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
ECG_SUFFIXES = (".hea", ".dcm", ".csv", ".npz", ".edf")


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
        choices=("3x4+1", "6x2", "12x1"),
        default="3x4+1",
        help="rows and columns of leads (default: %(default)s)",
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

    if many.is_many(arguments.file):
        return many.render_many(arguments, lambda recording: _page(recording, arguments))
    files.check_target(arguments.output, PAGE_SUFFIXES)
    page = _page(files.read_recording(arguments.file, **flags.reading(arguments)), arguments)
    files.write_image(arguments.output, page)
    show(f"{arguments.output} ({page.width} x {page.height} pixels)")
    return 0


def _page(recording: Recording, arguments: argparse.Namespace) -> Image:
    """The page of a recording, as the flags say."""
    from llava_ecg.ecg.render import render

    if arguments.start >= recording.duration:
        raise InputError(
            f"the page can't begin at {arguments.start:g} s: the recording is {recording.duration:.1f} s long"
        )
    return render(
        recording,
        dpi=arguments.dpi,
        layout=arguments.layout,
        gain=arguments.gain,
        speed=arguments.speed,
        start=arguments.start,
        heading=_heading(recording, arguments),
    )


def run_convert(arguments: argparse.Namespace, _: Opener | None) -> int:
    """Write one recording in another format."""
    from llava_ecg import files, report
    from llava_ecg.ecg.formats.write import written

    target = files.check_target(arguments.output, ECG_SUFFIXES)
    if target.exists() and arguments.file.exists() and target.samefile(arguments.file):
        raise InputError(f"{target} would be written over itself; choose another name")
    recording = files.read_recording(arguments.file, **flags.reading(arguments))
    made = written(recording, target)
    for path, content in made.items():
        files.write_bytes(path, content)
    show(
        *report.recording_lines(recording), "", " ".join(f"{path} ({len(each):,} bytes)" for path, each in made.items())
    )
    return 0


def _heading(recording: Recording, arguments: argparse.Namespace) -> tuple[str, ...]:
    """The lines at the top of the page; none unless they were asked for."""
    if not arguments.heading:
        return ()
    from llava_ecg.ecg.heading import heading
    from llava_ecg.ecg.measure import measure

    shown = recording.window(arguments.start, 250.0 / arguments.speed)
    return heading(recording, measure(shown), person=arguments.person)
