"""Tables of numbers as text: from the bytes of a file to columns of numbers with their titles. Which columns are leads
is decided elsewhere (`llava_ecg.ecg.formats.columns`).

Taken as they come: cells in quotes, a decimal comma, a row of units below the titles, ``sep=;``, titles in a comment,
lines before the table, UTF-8, UTF-16 and Latin-1, and missing values as R, pandas and others write them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from llava_ecg.ecg.formats.dialect import MISSING, Dialect
from llava_ecg.ecg.formats.quoting import quoted
from llava_ecg.ecg.formats.reader import looks_like
from llava_ecg.ecg.leads import STANDARD, canonical, may_be_lead
from llava_ecg.errors import InputError

_UNITS = re.compile(
    r"^(?:[numk\u00b5\u03bc]?v|(?:nano|micro|milli)?volts?|s|secs?|seconds?|ms|msecs?|milliseconds?|us|\u00b5s|\u03bcs|ns|"
    r"h*:?mm:ss(?:[.:,]m*s*)?|hh:mm:ss\S*)$",
    re.IGNORECASE,
)
_PERSON = re.compile(
    r"\W*(?:patient\w*|pat|paciente|paziente|(?:(?:first|last|given|family)[ _-]?|vor|nach|sur|fore)?names?|dob|mrn|nom"
    r"|birth\w*|date of birth|geburts\w*|nombre|apellidos?|nome|cognome|姓名|患者)(?:\b|_)",
    re.IGNORECASE,
)
_OF_A_LEAD = re.compile(r"^\W*(?:leads?|ableitung)\s*,", re.IGNORECASE)  # "Lead,Lead I", as Apple's export has it
_COMMA_NUMBER = re.compile(r"^\s*([-+]?\d+)(?:,\d+)?\s*$")
_LEADS = 20  # at most so many lines are leads
_HEADER_LINES = 80  # at most so many lines before a table are looked through


@dataclass(frozen=True)
class Fault:
    """The first cell of a column that is no number, and how many there are among the cells that are not empty."""

    text: str
    line: int
    count: int
    of: int


class Facts(Protocol):
    """What is known of all rows of a table of which no more than some are held (see `long_tables`)."""

    rows: int

    def evenly(self, column: int) -> bool:
        """As `columns.counts_evenly`."""

    def empty(self, column: int) -> bool:
        """Whether no cell of a column is a finite number."""

    def rate(self, path: Path, table: Table, column: int) -> float:
        """Hz by a column of times."""

    def gap(self, column: int) -> bool:
        """Whether rising times leave something out."""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        header: titles of the columns; None where there are none.
        units: one a column, from a row below the titles; None for a column without.
        values: float64 [rows, columns]; NaN for an empty or missing cell, and for one that is no number.
        faults: column -> what is wrong in it.
        texts: column -> the cells as text, for the columns with faults.
        before: the lines before the table, comments included.
        facts: of all rows, where `values` has no more than some of them; faults are of all rows too then, and texts
            are not kept.
    """

    header: list[str] | None
    units: list[str | None]
    values: np.ndarray
    faults: dict[int, Fault] = field(default_factory=dict)
    texts: dict[int, list[str]] = field(default_factory=dict)
    before: str = ""
    facts: Facts | None = None

    @property
    def rows(self) -> int:
        """How many rows the table has, held or not."""
        return self.values.shape[0] if self.facts is None else self.facts.rows


Line = tuple[int, str]


def read_lines(path: Path) -> tuple[list[Line], list[str], str | None]:
    """(numbered lines that are neither empty nor comments, comments, separator that the file names) of a text file.

    Raises:
        InputError: it can't be opened, or is no text.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} can't be opened: {error.strerror}") from error
    kind = looks_like(raw[:4096])
    try:
        if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            text = raw.decode("utf-16")
        elif kind not in ("text", "empty", "binary data"):
            raise InputError(f"{path} is not a table of numbers as text but {kind}")
        else:
            text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if kind != "text":
            raise InputError(f"{path} is not a table of numbers as text but {kind}") from error
        text = raw.decode("cp1252", "replace")
    lines: list[Line] = []
    comments: list[str] = []
    separator = sift(re.split(r"\r\n|\r|\n", text), 1, lines, comments)
    if not lines:
        raise InputError(f"{path} holds no samples")
    return lines, comments, separator


def sift(raw: Iterable[str], first: int, lines: list[Line], comments: list[str]) -> str | None:
    """Put the lines of a file, of which the first has this number, where they belong; the separator that one names."""
    separator = None
    for number, line in enumerate(raw, start=first):
        bare = line.strip()
        if number == 1 and (named := re.match(r"^\"?sep=(.)\"?[,;\s]*$", line, re.IGNORECASE)):
            separator = named[1]
        elif bare.startswith(("#", "%", "//")):
            comments.append(bare.lstrip("#%/ \t"))
        elif bare.strip(',;|" '):
            lines.append((number, line))
    return separator


@dataclass(frozen=True)
class Layout:
    """How a table is laid out.

    Attributes:
        dialect: how cells are kept apart.
        header, units: as in `Table`.
        width: how many cells a row has.
        skip: how many lines stand before the first row of numbers.
    """

    dialect: Dialect
    header: list[str] | None
    units: list[str | None]
    width: int
    skip: int


def parse(path: Path, lines: Sequence[Line], comments: Sequence[str], separator: str | None) -> Table:
    """The table that begins with the first line.

    Raises:
        InputError: rows of different lengths, or no samples.
    """
    dialect = Dialect.of(lines[0][1], separator)
    cells = dialect.cells(lines[0][1])
    sideways = len(lines) <= _LEADS and len(cells) > len(lines) and dialect.number(cells[1]) is not None
    if sideways and all(canonical(dialect.cells(line)[0]) in STANDARD for _, line in lines):
        return _sideways(path, lines, dialect, len(cells), "\n".join(comments))
    layout = layout_of(path, lines, comments, separator)
    return numbers(path, lines[layout.skip :], layout, "\n".join(comments))


def layout_of(path: Path, lines: Sequence[Line], comments: Sequence[str], separator: str | None) -> Layout:
    """How the table is laid out that begins with the first line; the first lines of a longer one will do.

    Raises:
        InputError: no samples.
    """
    dialect = Dialect.of(lines[0][1], separator)
    cells = dialect.cells(lines[0][1])
    if dialect.separator is None and len(lines) > 2:
        cells = dialect.titles(lines[0][1], len(dialect.cells(lines[2][1])))
    header: list[str] | None = None
    body, units = list(lines), [None] * len(cells)  # type: list[Line], list[str | None]
    if any(dialect.number(cell) is None for cell in cells) or _counts_up(cells):
        header, body = cells, body[1:]  # pandas numbers columns without names
    elif comments and (last := Dialect.of(comments[-1], separator).cells(comments[-1])) and len(last) == len(cells):
        header = (
            last if any(dialect.number(cell) is None for cell in last) else None
        )  # numpy.savetxt writes its header as a comment
    if header is not None and body:
        second = dialect.titles(body[0][1], len(cells)) if dialect.separator is None else dialect.cells(body[0][1])
        if len(second) == len(cells) and all(dialect.number(cell) is None or cell in ("", "-") for cell in second):
            bare = [cell.strip("()[] ") for cell in second]
            if any(_UNITS.match(cell) for cell in bare):
                units, body = [cell or None for cell in bare], body[1:]
    if not body:
        raise InputError(f"{path} holds no samples")
    if header is not None and _PERSON.match(header[0]) and not any(map(may_be_lead, header)):
        header, units = None, [None] * len(cells)  # a line about the patient right above the numbers, no titles
    if header is not None:
        below = len(dialect.cells(body[0][1]))
        if below == len(header) + 1 and not body[0][1].rstrip().endswith(dialect.separator or "\0"):
            header, units = ["", *header], [None, *units]  # R's write.table gives the row names no title
        elif below < len(header) and not any(header[below:]):
            header, units = header[:below], units[:below]
    return Layout(dialect, header, units, len(header or cells), len(lines) - len(body))


def _sideways(path: Path, lines: Sequence[Line], dialect: Dialect, width: int, before: str) -> Table:
    """A table that has a lead in each line, after its name; turned, so that the leads are its columns."""
    table = numbers(path, lines, Layout(dialect, None, [None] * width, width, 0), before)
    for column in set(table.faults) - {0}:
        fault = table.faults[column]
        raise InputError(
            f"{path} has {quoted(fault.text)} in line {fault.line}, column {column + 1}, where a number must be"
        )
    names = [dialect.cells(line)[0] for _, line in lines]
    return Table(names, [None] * len(names), table.values[:, 1:].T, before=before)


def find(path: Path, lines: Sequence[Line], comments: Sequence[str], separator: str | None) -> Table | None:
    """The table below lines of other text (patient, device, rate, ...), None where none is found."""
    found = begin_of(lines, separator)
    if found is None:
        return None
    begin, separator = found
    return replace(parse(path, lines[begin:], [], separator), before=lines_above(lines[:begin], comments))


def lines_above(lines: Sequence[Line], comments: Sequence[str]) -> str:
    """What stands above a table that `begin_of` has found."""
    return "\n".join([*comments, *(line for _, line in lines)])


def begin_of(lines: Sequence[Line], separator: str | None) -> tuple[int, str | None] | None:
    """Where a table begins below lines of other text, and its separator; None where none is found.

    Its first row of numbers is the first of six lines of as many cells, at least half of them numbers; its titles are
    the line above, if that has as many cells. A line above that has numbers in all of as many cells, or titles of leads
    in them, belongs to the table: then a fault lies between, and nothing may be cut off.
    """
    for at in range(1, min(len(lines) - 6, _HEADER_LINES)):
        one = separator is None and _is_one_column(lines, at)
        dialect = Dialect.of(lines[at][1], ";" if one else separator)
        rows = [dialect.cells(line) for _, line in lines[at : at + 6]]
        if not all(len(row) == len(rows[0]) and _mostly_numbers(row, dialect) for row in rows):
            continue
        begin = at
        for above in range(at - 1, max(-1, at - 3), -1):  # a row of units may stand between titles and numbers
            if len(dialect.cells(lines[above][1])) != len(rows[0]) or len(rows[0]) == 1:
                break
            begin = above
            if above == at - 1 and not any(
                _UNITS.match(cell.strip("()[] ")) for cell in dialect.cells(lines[above][1])
            ):
                break
        if any(_belongs(dialect.cells(line), len(rows[0]), dialect) for _, line in lines[:begin]):
            return None
        return begin, dialect.separator
    return None


def _is_one_column(lines: Sequence[Line], at: int) -> bool:
    """Whether six lines are each a number with a decimal comma, below a line that says which lead they are: not two
    columns, of which the first would count."""
    found = [_COMMA_NUMBER.match(line) for _, line in lines[at : at + 6]]
    if not all(found) or not any("," in line for _, line in lines[at : at + 6]):
        return False
    whole = [int(match[1]) for match in found if match]
    steps = {later - former for former, later in zip(whole, whole[1:], strict=False)}
    return (len(steps) > 1 or steps == {0}) and any(_OF_A_LEAD.match(line) for _, line in lines[:at])


def _belongs(cells: Sequence[str], width: int, dialect: Dialect) -> bool:
    if len(cells) != width:
        return False
    return all(dialect.number(cell) is not None for cell in cells) or any(
        canonical(cell) in STANDARD for cell in cells if len(cell) > 1
    )


def _mostly_numbers(row: Sequence[str], dialect: Dialect) -> bool:
    return sum(bool(cell) and dialect.number(cell) is not None for cell in row) * 2 >= len(row) > 0


def _counts_up(cells: Sequence[str]) -> bool:
    cells = cells if cells[0] else cells[1:]  # the corner above an index is empty
    return (
        len(cells) > 1 and cells[0] in ("0", "1") and list(cells) == [str(int(cells[0]) + n) for n in range(len(cells))]
    )


def numbers(path: Path, lines: Sequence[Line], layout: Layout, before: str = "") -> Table:
    """The body of a table, or some rows of it, as numbers: all at once where each cell is one, else cell by cell.

    Raises:
        InputError: a row of another length.
    """
    dialect, width = layout.dialect, layout.width
    try:
        values = np.loadtxt(
            [line for _, line in lines], delimiter=dialect.separator, ndmin=2, comments=None, quotechar=dialect.quote
        )
        if values.shape[1] == width:
            return Table(layout.header, layout.units, values, before=before)
    except ValueError:
        pass  # an empty cell, a decimal comma, or a fault, which the slow way finds
    rows = dialect.rows([line for _, line in lines])
    for (number, _), row in zip(lines, rows, strict=True):
        if len(row) > width and not any(row[width:]):
            del row[width:]  # separators at the end of a line
        if len(row) != width:
            raise InputError(f"{path} has {len(row)} cells in line {number}, the first line {width}")
    values = np.empty((len(rows), width))
    faults, texts = {}, {}
    for column in range(width):
        cells = [row[column] for row in rows]
        try:
            if "_" not in "".join(cells):  # 1_000 is a number to NumPy, and to `Dialect.number` it is none
                values[:, column] = np.array(cells, dtype=np.float64)
                continue
        except ValueError:
            pass
        found = [dialect.number(cell) for cell in cells]
        values[:, column] = [math.nan if number is None else number for number in found]
        bad = [at for at, number in enumerate(found) if number is None]
        if bad:
            filled = sum(cell.lower() not in MISSING for cell in cells)
            faults[column], texts[column] = Fault(cells[bad[0]], lines[bad[0]][0], len(bad), filled), cells
    return Table(layout.header, layout.units, values, faults, texts, before)
