"""Score `llava_ecg.ecg.measure` against the hand marks of LUDB (Lobachevsky University Database, ODC-By 1.0).

Hardware: any CPU, one core. Time: about half a minute for 159 records. Memory: under 500 MB.

    python scripts/bench/measure_ludb.py --data ../shared/data/ludb
    python scripts/bench/measure_ludb.py --data ../shared/data/ludb --part even --json OUT.json
    python scripts/bench/measure_ludb.py --data ../shared/data/ludb --records 1 2 3

The hand value of a record is the median over its beats in each lead, then the median over the leads. Beats are compared only between
the first and the last mark, because the first and last beats of LUDB carry none. The delineator's thresholds were set on the odd
record numbers (`--part odd`); only the even ones are a fair test.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import wfdb

from llava_ecg.ecg import leads as lead_names
from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.recording import Recording

MATCH_MS = 150.0
TOLERANCE_MS = {"pr_ms": 20.0, "qrs_ms": 20.0, "qt_ms": 25.0}
WAVES = {"p": "p", "N": "qrs", "t": "t"}


@dataclass(frozen=True)
class HandValues:
    """What the cardiologists marked on one record.

    Attributes:
        beats_s: R times, the median over the leads that mark the beat, s.
        span_s: first and last mark of the record, s.
        p_present: whether most beats have a P wave before them in most leads.
        pr_ms, qrs_ms, qt_ms: medians over beats, then over leads; None where no lead has the wave.
    """

    beats_s: np.ndarray
    span_s: tuple[float, float]
    p_present: bool
    pr_ms: float | None
    qrs_ms: float | None
    qt_ms: float | None


def read_signal(path: Path) -> Recording:
    """One LUDB record, mV; ``path`` without suffix."""
    record = wfdb.rdrecord(str(path))
    signal = np.ascontiguousarray(record.p_signal.T, dtype=np.float32)
    return Recording(signal, float(record.fs), tuple(lead_names.canonical(name) for name in record.sig_name), source=str(path))


def read_waves(path: Path, lead: str) -> list[tuple[str, int, int, int]]:
    """The marks of one lead as (wave, onset, peak, offset) in samples; a peak without both bounds is left out."""
    marks = wfdb.rdann(str(path), lead)
    found = []
    for i in range(1, len(marks.sample) - 1):
        if marks.symbol[i] in WAVES and marks.symbol[i - 1] == "(" and marks.symbol[i + 1] == ")":
            found.append((WAVES[marks.symbol[i]], int(marks.sample[i - 1]), int(marks.sample[i]), int(marks.sample[i + 1])))
    return found


def lead_values(waves: Sequence[tuple[str, int, int, int]], rate: float) -> dict[str, list[float]]:
    """Each beat's PR, QRS and QT in ms of one lead, and under ``p`` whether the beat has a P wave (1 or 0)."""
    out: dict[str, list[float]] = {"pr_ms": [], "qrs_ms": [], "qt_ms": [], "p": []}
    for i, (wave, onset, _, offset) in enumerate(waves):
        if wave != "qrs":
            continue
        out["qrs_ms"].append((offset - onset) * 1000 / rate)
        before = waves[i - 1] if i else None
        if before is not None:  # the first marked QRS may have lost its P to the start of the marking
            out["p"].append(float(before[0] == "p"))
            if before[0] == "p":
                out["pr_ms"].append((onset - before[1]) * 1000 / rate)
        if i + 1 < len(waves) and waves[i + 1][0] == "t":
            out["qt_ms"].append((waves[i + 1][3] - onset) * 1000 / rate)
    return out


def pooled_beats(times: Iterable[float]) -> np.ndarray:
    """One time for each beat from the R marks of all leads: marks closer than 150 ms are the same beat."""
    groups: list[list[float]] = []
    for t in sorted(times):
        if groups and t - groups[-1][0] < MATCH_MS / 1000:
            groups[-1].append(t)
        else:
            groups.append([t])
    return np.array([statistics.median(group) for group in groups])


def read_hand_values(path: Path) -> HandValues:
    """The hand values of one record; ``path`` without suffix."""
    header = wfdb.rdheader(str(path))
    rate = float(header.fs)
    waves = [read_waves(path, lead) for lead in header.sig_name]
    values = [lead_values(lead, rate) for lead in waves]

    def median(name: str) -> float | None:
        per_lead = [statistics.median(lead[name]) for lead in values if lead[name]]
        return statistics.median(per_lead) if per_lead else None

    starts = [lead[0][1] for lead in waves if lead]
    ends = [lead[-1][3] for lead in waves if lead]
    return HandValues(
        beats_s=pooled_beats(peak / rate for lead in waves for wave, _, peak, _ in lead if wave == "qrs"),
        span_s=(min(starts) / rate, max(ends) / rate),
        p_present=(median("p") or 0.0) >= 0.5,
        pr_ms=median("pr_ms"),
        qrs_ms=median("qrs_ms"),
        qt_ms=median("qt_ms"),
    )


def match_beats(found: np.ndarray, hand: HandValues) -> tuple[int, int, int]:
    """(true positives, false negatives, false positives), one to one within 150 ms, false positives only inside the marked span."""
    free = list(found)
    hits = 0
    for t in hand.beats_s:
        near = min(free, key=lambda f: abs(f - t), default=None)
        if near is not None and abs(near - t) <= MATCH_MS / 1000:
            free.remove(near)
            hits += 1
    extra = sum(bool(hand.span_s[0] <= t <= hand.span_s[1]) for t in free)
    return hits, len(hand.beats_s) - hits, extra


def score_record(path: Path) -> dict[str, object]:
    """Measured and hand values of one record side by side."""
    recording, hand = read_signal(path), read_hand_values(path)
    start = time.perf_counter()
    found = measure(recording)
    seconds = time.perf_counter() - start
    hits, missed, extra = match_beats(np.array(found.beats_s), hand)
    hand_rate = 60 / float(np.mean(np.diff(hand.beats_s))) if len(hand.beats_s) > 1 else None
    inside = [t for t in found.beats_s if hand.beats_s[0] - 0.15 <= t <= hand.beats_s[-1] + 0.15]
    rate = 60 / float(np.mean(np.diff(inside))) if len(inside) > 1 else None
    return {
        "record": path.name,
        "hits": hits,
        "missed": missed,
        "extra": extra,
        "rate_bpm": [rate, hand_rate],
        "p_present": [found.p_present, hand.p_present],
        **{name: [getattr(found, name), getattr(hand, name)] for name in TOLERANCE_MS},
        "ms": seconds * 1000,
    }


def summarise(rows: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """Bias, SD and shares over the records."""

    def pairs(name: str) -> list[tuple[float, float]]:
        return [(row[name][0], row[name][1]) for row in rows if None not in row[name]]  # type: ignore[index, operator]

    hits, missed, extra = (sum(int(row[name]) for row in rows) for name in ("hits", "missed", "extra"))  # type: ignore[call-overload]
    out: dict[str, object] = {
        "records": len(rows),
        "beats": hits + missed,
        "r_sensitivity": hits / max(1, hits + missed),
        "r_ppv": hits / max(1, hits + extra),
        "ms_per_record_median": statistics.median(float(row["ms"]) for row in rows),  # type: ignore[arg-type]
    }
    for name in ("rate_bpm", *TOLERANCE_MS):
        difference = np.array([found - hand for found, hand in pairs(name)])
        asked = sum(row[name][1] is not None for row in rows)  # type: ignore[index]
        out[name] = {
            "hand": asked,
            "measured": len(difference),
            "bias": float(difference.mean()) if len(difference) else None,
            "sd": float(difference.std(ddof=1)) if len(difference) > 1 else None,
            "median_abs": float(np.median(np.abs(difference))) if len(difference) else None,
        }
        if name in TOLERANCE_MS and asked:
            out[name]["within_tolerance"] = int((np.abs(difference) <= TOLERANCE_MS[name]).sum()) / asked  # type: ignore[index]
    judged = pairs("p_present")
    out["p_present"] = {
        "with_p": sum(hand for _, hand in judged),
        "found": sum(found and hand for found, hand in judged),
        "without_p": sum(not hand for _, hand in judged),
        "found_absent": sum(not found and not hand for found, hand in judged),
        "unmeasured": len(rows) - len(judged),
    }
    return out


def table(summary: Mapping[str, object]) -> str:
    """The summary as plain text."""
    p: Mapping[str, int] = summary["p_present"]  # type: ignore[assignment]
    lines = [
        f"records {summary['records']}, beats {summary['beats']}, "
        f"R Se {summary['r_sensitivity']:.2%}, PPV {summary['r_ppv']:.2%}, {summary['ms_per_record_median']:.0f} ms a record",
        f"P wave: called in {p['found']} of {p['with_p']} records with P; "
        f"called absent in {p['found_absent']} of {p['without_p']} without P; "
        f"{p['unmeasured']} not judged",
        f"{'value':<10}{'hand':>6}{'measured':>10}{'bias':>9}{'SD':>9}{'|median|':>10}{'in tolerance':>15}",
    ]
    for name in ("rate_bpm", *TOLERANCE_MS):
        row: Mapping[str, float] = summary[name]  # type: ignore[assignment]
        share = f"{row['within_tolerance']:.1%} (+-{TOLERANCE_MS[name]:.0f})" if "within_tolerance" in row else ""
        figures = "".join("        -" if row[key] is None else f"{row[key]:>9.2f}" for key in ("bias", "sd", "median_abs"))
        lines.append(f"{name:<10}{row['hand']:>6}{row['measured']:>10}{figures} {share:>15}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Score, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of LUDB")
    parser.add_argument("--part", choices=("all", "odd", "even"), default="all", help="which record numbers (thresholds were set on odd)")
    parser.add_argument("--records", nargs="*", help="only these record names")
    parser.add_argument("--json", type=Path, help="write the summary and every record here")
    options = parser.parse_args(arguments)
    names = sorted((path.stem for path in options.data.glob("*.hea")), key=int)
    names = [name for name in names if not options.records or name in options.records]
    if options.part != "all":
        names = [name for name in names if int(name) % 2 == (options.part == "odd")]
    if not names:
        parser.error(f"no records to score in {options.data}")
    rows = [score_record(options.data / name) for name in names]
    summary = summarise(rows)
    print(table(summary))
    if options.json:
        options.json.write_text(json.dumps({"summary": summary, "records": rows}, indent=1))


if __name__ == "__main__":
    main()
