"""How the cells of a table as text are kept apart, and what number is in one."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

_SEPARATORS = (";", "\t", ",", "|")
MISSING = {
    "",
    "na",
    "n/a",
    "#n/a",
    "<na>",
    "nan",
    "-nan",
    "null",
    "none",
    "nil",
    "missing",
    "#na",
    "1.#qnan",
    "-1.#ind",
    "-",
    "--",
    "?",
}
_GROUPED = re.compile(
    r"^[-+]?\d{1,3}(?:([.,'\u2019\u00a0\u202f ])\d{3})(?:\1\d{3})+$|^[-+]?\d{1,3}(?:[,'\u2019]\d{3})+\.\d+$"
    r"|^[-+]?\d{1,3}(?:\.\d{3})+,\d+$"
)


@dataclass(frozen=True)
class Dialect:
    """How cells are kept apart: by a separator (None for blanks), and in which quotes."""

    separator: str | None
    quote: str

    @classmethod
    def of(cls, line: str, separator: str | None) -> Dialect:
        """By a file's first line; what stands in quotes does not count."""
        quote = "'" if re.search(r"(?:^|[,;\t|])[^\S\t]*'", line) else '"'
        outside = re.sub(f"{quote}[^{quote}]*{quote}", "", line)
        if separator is None:
            separator = next((mark for mark in _SEPARATORS if mark in outside), None)
        return cls(separator, quote)

    def rows(self, lines: Sequence[str]) -> list[list[str]]:
        """The cells of each line, without the blanks around them."""
        separator, quote = (" ", self.quote) if self.separator is None else (self.separator, self.quote)
        if self.separator is None:
            lines = [" ".join(line.split()) for line in lines]
        try:
            found = list(csv.reader(lines, delimiter=separator, quotechar=quote, skipinitialspace=True))
            if len(found) != len(lines):  # a quote that stays open would swallow what follows
                found = [
                    next(csv.reader([line], delimiter=separator, quotechar=quote, skipinitialspace=True), [])
                    for line in lines
                ]
        except csv.Error:
            found = [line.split(separator) for line in lines]
        return [[cell.strip().strip(quote).strip() for cell in row] for row in found]

    def cells(self, line: str) -> list[str]:
        """The cells of one line."""
        return self.rows([line])[0]

    def titles(self, line: str, width: int) -> list[str]:
        """The cells of a line of titles that are kept apart by blanks: blanks within a title, and before its unit,
        don't count."""
        cells = self.cells(line)
        for other in (re.split(r"\s{2,}|\t", line.strip()), re.split(r"\s+(?![(\[{])", line.strip())):
            if len(cells) != width and len(other) == width:
                cells = [cell.strip(self.quote) for cell in other]
        return cells

    def number(self, cell: str) -> float | None:
        """A cell's number, NaN where it is empty or says that the value is missing, None where it is neither.

        A comma is a decimal comma unless the cell has several of them or a point as well; it can only stand in a cell
        where the separator is another or the cell was in quotes.
        """
        try:
            return float(cell) if "_" not in cell else None
        except ValueError:
            pass
        if cell.lower() in MISSING:
            return math.nan
        cell = cell.removeprefix("=").strip('"')  # ="0.1" is Excel's way to keep a cell as it was written
        if _GROUPED.match(cell):
            decimal = max(cell.rfind("."), cell.rfind(","))
            both = "." in cell and "," in cell or ("." in cell and ("'" in cell or "\u2019" in cell))
            digits = re.sub(r"[^\d+-]", "", cell[:decimal] if both else cell)
            return float(f"{digits}.{cell[decimal + 1 :]}" if both else digits)
        try:
            return float(cell.replace(",", ".").replace("\u2212", "-"))
        except ValueError:
            return None
