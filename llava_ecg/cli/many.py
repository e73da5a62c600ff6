"""``llava-ecg measure`` and ``render`` of many ECGs: a folder, a pattern or a list of files, of mixed formats."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llava_ecg import files
from llava_ecg.cli import flags
from llava_ecg.data.bar import Bar
from llava_ecg.errors import InputError
from llava_ecg.terminal import RESEARCH_USE, show, show_json

if TYPE_CHECKING:
    from llava_ecg.ecg.measurements import Measurements

_COLUMNS = {
    "heart_rate_bpm": "rate",
    "pr_ms": "PR",
    "qrs_ms": "QRS",
    "qt_ms": "QT",
    "qtc_bazett_ms": "QTc",
    "axis_deg": "axis",
}
_NAME_WIDTH = 36
_LONGEST_PATH = 4096  # letters; a longer first line is a row of a table
_LISTS = (".txt", ".list", ".lst")


def is_many(path: Path) -> bool:
    """Whether a command's file stands for several."""
    if path.is_dir() or (files.is_pattern(path) and not path.exists()):
        return True
    return path.suffix.lower() in _LISTS and path.is_file() and _names_files(path)


def _names_files(path: Path) -> bool:
    """Whether a text lists files and is no table of numbers."""
    from llava_ecg.ecg.formats.reader import split_record

    try:
        with path.open(encoding="utf-8-sig") as file:
            first = file.readline(_LONGEST_PATH).strip()
        return bool(first) and (split_record(Path(first))[0].is_file() or Path(f"{first}.hea").is_file())
    except (OSError, ValueError):  # no text, or a line that no path can be
        return False


def measure_many(arguments: argparse.Namespace) -> int:
    """A line for each; with --json an object a line. Exit code 1 where one can't be measured, which says why."""
    from llava_ecg import report
    from llava_ecg.ecg.measure import measure

    failed, paths = 0, _paths(arguments)
    if not arguments.json:
        show(f"{'':<{_NAME_WIDTH}}" + "".join(f"{head:>6}" for head in _COLUMNS.values()) + "  rhythm")
    for path, recording, error in _each(
        paths, lambda path: files.read_recording(path, **flags.reading(arguments)), quiet=arguments.json
    ):
        measured = None
        if recording is not None:
            try:
                measured = measure(recording)
            except InputError as fault:
                error = str(fault)
        failed += measured is None
        if arguments.json:
            told: dict[str, Any] = {"file": str(path), "error": error}
            if recording is not None and measured is not None:
                told |= {"recording": report.recording_dict(recording)}
                told |= {"measurements": report.plain(measured.to_dict())}
            show_json(told)
        else:
            show(_line(path, measured, error))
    if not arguments.json:
        show("", RESEARCH_USE)
    return 1 if failed else 0


def render_many(arguments: argparse.Namespace, read: Callable[[Path], Any], draw: Any) -> int:
    """A page for each, under the name of its ECG in the folder ``--output``. Exit code 1 where one can't be drawn.

    Args:
        read: a path -> what is drawn of it.
        draw: that and its name -> its page and where its leads are.
    """
    target: Path = arguments.output
    if target.suffix:
        raise InputError(f"{arguments.file} stands for many ECGs, so -o names a folder; {target} looks like a file")
    if arguments.boxes is not None and arguments.boxes.suffix:
        raise InputError(
            f"{arguments.file} stands for many ECGs, so --boxes names a folder; {arguments.boxes} is a file"
        )
    drawn, failed = 0, 0
    made: set[Path] = set()
    root = arguments.file if arguments.file.is_dir() else None
    for path, recording, error in _each(_paths(arguments), read, quiet=False):
        if recording is None:
            failed += 1
            show(str(error), file=sys.stderr)
            continue
        name = path.relative_to(root) if root is not None else Path(path.name)
        page = target / _page_name(name)
        if page in made:  # of a.dcm and a.hea
            page = page.with_name(f"{path.name}.png")
        made.add(page)
        try:
            image, boxes = draw(recording, name.as_posix())
            files.write_image(page, image)
            if arguments.boxes is not None:
                files.write_json(arguments.boxes / page.relative_to(target).with_suffix(".json"), boxes)
            drawn += 1
        except InputError as fault:
            failed += 1
            show(str(fault), file=sys.stderr)
    show(f"{drawn} pages in {target}" + (f", {failed} ECGs can't be drawn" if failed else ""))
    return 1 if failed else 0


def _page_name(name: Path) -> Path:
    """``a.dcm`` -> ``a.png``, ``exams.hdf5#11`` -> ``exams-11.png``; a name of digits and dots keeps all of them."""
    stem, _, record = name.name.partition("#")
    file = Path(stem)
    kept = file.name if file.suffix[1:].isdigit() else file.stem
    return name.with_name(f"{kept}-{record}.png" if record else f"{kept}.png")


def _paths(arguments: argparse.Namespace) -> list[Path]:
    """Every ECG that is meant.

    Raises:
        InputError: there is none.
    """
    paths = files.each_record(arguments.file)
    if not paths:
        raise InputError(f"{arguments.file} holds no ECG that can be read; give a folder, a pattern or a list of files")
    return paths


def _each(paths: Sequence[Path], read: Callable[[Path], Any], *, quiet: bool) -> Iterator[tuple[Path, Any, str | None]]:
    """Of every ECG, what `read` gives of it, or why it can't be read."""
    bar = None if quiet or sys.stdout.isatty() or not sys.stderr.isatty() else Bar()
    for done, path in enumerate(paths, 1):
        try:
            yield path, read(path), None
        except InputError as error:
            yield path, None, str(error)
        if bar is not None:
            bar(done, len(paths))
    if bar is not None:
        bar.clear()


def _line(path: Path, measured: Measurements | None, error: str | None) -> str:
    name = str(path) if len(str(path)) < _NAME_WIDTH else f"...{str(path)[4 - _NAME_WIDTH :]}"
    if measured is None:
        return f"{name:<{_NAME_WIDTH}}  {error}"
    values = [vars(measured)[column] for column in _COLUMNS]
    cells = "".join(f"{'-' if value is None else format(value, '.0f'):>6}" for value in values)
    word = {True: "regular", False: "irregular", None: "-"}[measured.rhythm_regular]
    return f"{name:<{_NAME_WIDTH}}{cells}  {word}"
