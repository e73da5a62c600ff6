"""`compare`: runs beside each other and beside what is published, as rows of one table; no harness here.

`as_text`, `as_markdown` and `as_csv` write it, `llava_ecg.eval.compare_picture` draws it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from llava_ecg.errors import InputError
from llava_ecg.eval.paired import Paired, common, paired
from llava_ecg.eval.scorers import Scores

if TYPE_CHECKING:
    from llava_ecg.eval.runs import Outcome

SHARED = ("rubric", "judges")
"""What must be the same for two runs to be tested against each other; else only their figures stand there."""
TOLD = ("checkpoint_fingerprint", "data_fingerprint", "template", "preparation", "decoding", *SHARED)
"""What runs may differ in, and the table says."""


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        task, metric: what it is a figure of.
        unit: ``%``, or ``points``, ``bpm``, ``ms``.
        kind: ``run``, ``chance``, ``majority`` or ``published``.
        name: of the run or the model.
        value, low, high: figure and 95 % interval, in the unit.
        answers, unparsed, failed: counts; of a run alone.
        difference, difference_low, difference_high: less the first run, in the unit (percent: in points of it).
        p: of the paired test against the first run.
        common: questions that both answered.
    """

    task: str
    metric: str
    unit: str
    kind: str
    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    answers: int | None = None
    unparsed: int | None = None
    failed: int | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p: float | None = None
    common: int | None = None


@dataclass(frozen=True)
class Table:
    """The whole of it.

    Attributes:
        rows: by task and metric; the runs first, in the order in which they were given.
        notes: what a reader should know.
    """

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


def compare(runs: Mapping[str, Sequence[Outcome]], *, seed: int = 0) -> Table:
    """Runs side by side; all but the first are tested against the first.

    Args:
        runs: name -> what came of its tasks.
        seed: of resamples and swaps.

    Raises:
        InputError: fewer than two runs, no task that two of them share, or a question that differs between them.
    """
    if len(runs) < 2:
        raise InputError("a comparison is of two runs or more; name each folder")
    names = list(dict.fromkeys(each.task.name for outcomes in runs.values() for each in outcomes))
    by_task = {
        name: {run: each for run, outcomes in runs.items() for each in outcomes if each.task.name == name}
        for name in names
    }
    if all(len(found) < 2 for found in by_task.values()):
        told = "; ".join(
            f"{run} has {', '.join(each.task.name for each in outcomes)}" for run, outcomes in runs.items()
        )
        raise InputError(f"these runs share no task: {told}")
    rows: list[Row] = []
    notes: list[str] = []
    for name, found in by_task.items():
        rows += _of_task(name, found, notes, seed)
    notes.append(
        "differences, intervals and p are against the first run of a task; p is not corrected for how many there are"
    )
    return Table(tuple(rows), tuple(dict.fromkeys(notes)))


def _of_task(name: str, found: Mapping[str, Outcome], notes: list[str], seed: int) -> Iterator[Row]:
    first_name, first = next(iter(found.items()))
    tests: dict[str, dict[str, Paired]] = {}
    for run, each in list(found.items())[1:]:
        notes += _differ(name, first_name, first, run, each)
        if all(first.facts.get(fact) == each.facts.get(fact) for fact in SHARED):
            tests[run] = _tested(first, each, (first_name, run), seed)
    if len(found) == 1:
        notes.append(f"{name}: only {first_name} has it")
    if first.task.note:
        notes.append(f"{name}: {first.task.note}")
    metrics = list(dict.fromkeys(metric for each in found.values() if each.scores for metric in each.scores.figures))
    for metric in metrics:
        had = [(run, each, each.scores) for run, each in found.items() if each.scores is not None]
        unit = next((scores.units.get(metric, "%") for _, _, scores in had if metric in scores.figures), "%")
        for run, each, scores in had:
            if metric in scores.figures:
                yield _of_run(name, metric, unit, run, each, scores, tests.get(run, {}).get(metric))
        for kind in ("chance", "majority"):
            value = next(
                (getattr(scores, kind)[metric] for _, _, scores in had if metric in getattr(scores, kind)), None
            )
            if value is not None:
                yield Row(name, metric, unit, kind, kind, _scaled(value, unit))
        for model, figures in first.task.published.items():
            if metric in figures:
                yield Row(name, metric, unit, "published", model, figures[metric])


def _tested(first: Outcome, second: Outcome, names: tuple[str, str], seed: int) -> dict[str, Paired]:
    places = common(first.items, second.items, names)
    if not places:
        return {}
    return paired(
        first.task.marking,
        [first.items[one] for one, _ in places],
        [first.told[one] for one, _ in places],
        [second.told[other] for _, other in places],
        seed=seed,
    )


def _of_run(task: str, metric: str, unit: str, run: str, outcome: Outcome, scores: Scores, test: Paired | None) -> Row:
    figure = scores.figures[metric]
    tested: dict[str, Any] = {}
    if test is not None:
        tested = {
            "difference": _scaled(test.difference, unit),
            "difference_low": _scaled(test.low, unit),
            "difference_high": _scaled(test.high, unit),
            "p": test.p,
            "common": test.common,
        }
    return Row(
        task,
        metric,
        unit,
        "run",
        run,
        _scaled(figure.value, unit),
        _scaled(figure.low, unit),
        _scaled(figure.high, unit),
        answers=figure.count,
        unparsed=scores.unparsed,
        failed=outcome.failed[0],
        **tested,
    )


def _differ(task: str, first_name: str, first: Outcome, name: str, other: Outcome) -> Iterator[str]:
    """What two runs of a task do not share, but for the model itself."""
    for fact in TOLD:
        one, two = first.facts.get(fact), other.facts.get(fact)
        if one == two or (fact == "checkpoint_fingerprint" and first.model != other.model):
            continue
        untested = "; they are not tested against each other" if fact in SHARED else ""
        yield f"{task}: {fact.replace('_', ' ')} is {one} in {first_name} and {two} in {name}{untested}"


def _scaled(value: float | None, unit: str) -> float | None:
    return None if value is None else 100 * value if unit == "%" else value


# -- writing it --------------------------------------------------------------------------------------------------------

_HEAD = (
    "task",
    "metric",
    "model",
    "figure",
    "95 %",
    "answers",
    "unparsed",
    "failed",
    "difference",
    "95 %",
    "p",
    "common",
)


def as_csv(table: Table) -> str:
    """A line a row, all fields, numbers in full."""
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    lines.writerow([each.name for each in fields(Row)])
    for row in table.rows:
        lines.writerow(["" if value is None else value for value in vars(row).values()])
    return out.getvalue()


def as_markdown(table: Table) -> str:
    """A table of Markdown, and the notes as a list."""
    lines = [_HEAD, ("---",) * len(_HEAD), *map(_cells, table.rows)]
    text = "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
    return text + "\n\n" + "".join(f"- {note}\n" for note in table.notes)


def as_text(table: Table) -> str:
    """Columns of plain text; what repeats the line above is left blank."""
    rows = [_HEAD, *map(_cells, table.rows)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEAD))]
    lines = []
    above: tuple[str, ...] = ("", "")
    for row in rows:
        same = 0 if row[0] != above[0] else 1 if row[1] != above[1] else 2
        shown = ["" if place < same else cell for place, cell in enumerate(row)]
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(shown, widths, strict=True)).rstrip())
        above = row
    return "\n".join([*lines, "", *(f"note: {note}" for note in table.notes)]) + "\n"


def _cells(row: Row) -> tuple[str, ...]:
    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.1f}" if row.unit == "%" else f"{value:.2f}"

    def span(low: float | None, high: float | None) -> str:
        return "" if low is None or high is None else f"[{number(low)}, {number(high)}]"

    name = f"{row.name}, published" if row.kind == "published" else row.name
    counts = ("" if each is None else str(each) for each in (row.answers, row.unparsed, row.failed))
    sign = "" if row.difference is None or row.difference < 0 else "+"
    return (
        row.task,
        f"{row.metric}, {row.unit}",
        name,
        number(row.value) or "-",
        span(row.low, row.high),
        *counts,
        sign + number(row.difference),
        span(row.difference_low, row.difference_high),
        "" if row.p is None else f"{row.p:.3f}",
        "" if row.common is None else str(row.common),
    )
