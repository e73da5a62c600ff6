"""What gem-tiny's towers learn from: ``python -m llava_ecg.train.tiny.records OUT --simulated 6000 --real DIR``.

It writes ``signals.npy`` (int16 [N, 12, 5000], uV, 500 Hz), ``marks.npy`` (uint8 [N, 1000]: which wave every 10 ms
belong to, by `WAVES`) and ``records.json`` (per record: name, split, scaled, facts, labels). Facts are what
`llava_ecg.ecg.measure` finds; of a simulated heart, what is true of it where the measurement is far from it.

About 80 ms a record and core.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.measurements import Measurements
from llava_ecg.errors import InputError
from llava_ecg.train.tiny.sources import Source, real, simulated

WAVES = ("none", "P", "QRS", "T")
RATE, SAMPLES, MARKS = 500, 5000, 1000
FACTS = (
    "heart_rate_bpm",
    "rhythm_regular",
    "p_present",
    "pr_ms",
    "qrs_ms",
    "qt_ms",
    "qtc_bazett_ms",
    "axis_deg",
)
NEAR = {"pr_ms": 25.0, "qrs_ms": 25.0, "qt_ms": 40.0, "qtc_bazett_ms": 45.0, "heart_rate_bpm": 3.0}
"""How far a measurement of a simulated heart may lie from its truth, ms or bpm; what is farther gives way to it."""


def facts_of(measured: Measurements, known: Mapping[str, Any], labels: Mapping[str, bool]) -> dict[str, Any]:
    """`FACTS` of a record, None where they are not sure."""
    found = {name: getattr(measured, name) for name in FACTS}
    for name, value in known.items():
        close = name in NEAR and None not in (value, found[name]) and abs(value - found[name]) <= NEAR[name]
        found[name] = found[name] if close else value
    if labels.get("atrial fibrillation") and not known:  # its labels outweigh a P wave that was found
        found |= {"p_present": False if found["p_present"] is False else None, "pr_ms": None}
    if found["p_present"] is False:
        found["pr_ms"] = None
    return found


def marks_of(measured: Measurements) -> np.ndarray:
    """uint8 [MARKS]: the wave of every 10 ms."""
    marks = np.zeros(MARKS, dtype=np.uint8)
    for beat in measured.beats:
        spans = ((beat.p_onset_s, beat.p_end_s), (beat.qrs_end_s, beat.t_end_s), (beat.qrs_onset_s, beat.qrs_end_s))
        for wave, (start, end) in zip((1, 3, 2), spans, strict=True):
            if start is not None and end is not None:
                marks[max(0, round(start * 100)) : max(0, round(end * 100))] = wave
    return marks


def finish(source: Source) -> tuple[np.ndarray, np.ndarray, dict[str, Any]] | None:
    """Signal, marks and description of a record; None where no beat was found."""
    measured = measure(source.recording)
    if measured.heart_rate_bpm is None:
        return None
    labels = dict(source.labels)
    kinds = [beat.kind for beat in measured.beats]
    labels.setdefault("premature beats", "ventricular" in kinds or "supraventricular" in kinds)
    signal = np.nan_to_num(source.recording.resample(RATE).signal)[:, :SAMPLES]
    stored = np.zeros((12, SAMPLES), dtype=np.int16)
    stored[:, : signal.shape[1]] = np.clip(np.rint(signal * 1000), -32768, 32767)
    described = {"name": source.name, "split": source.split, "scaled": source.scaled}
    return stored, marks_of(measured), described | {"facts": facts_of(measured, source.facts, labels), "labels": labels}


def _simulated(number: int, seed: int, validation: int) -> tuple[np.ndarray, np.ndarray, dict[str, Any]] | None:
    return finish(simulated(number, seed, validation))


def _all(arguments: argparse.Namespace) -> Iterator[tuple[np.ndarray, np.ndarray, dict[str, Any]] | None]:
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        if arguments.real is not None:
            yield from pool.imap(finish, real(arguments.real), chunksize=8)
        one = partial(_simulated, seed=arguments.seed, validation=arguments.simulated // 20)
        yield from pool.imap(one, range(arguments.simulated), chunksize=16)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m llava_ecg.train.tiny.records", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--simulated", type=int, default=6000, help="simulated records (default 6000)")
    parser.add_argument("--real", type=Path, metavar="DIR", help="folder with ptbxl/, ludb/, cinc2011/, cinc2021/")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Write the set."""
    arguments = build_parser().parse_args(argv)
    try:
        if arguments.real is not None and not arguments.real.is_dir():
            raise InputError(f"--real {arguments.real} is no folder")
        arguments.out.mkdir(parents=True, exist_ok=True)
        found = []
        for number, one in enumerate(_all(arguments), 1):
            if one is not None:
                found.append(one)
            if number % 500 == 0:
                print(f"{number} records", flush=True)
        if not found:
            raise InputError("there are no records; give --simulated or --real")
        np.save(arguments.out / "signals.npy", np.stack([signal for signal, _, _ in found]))
        np.save(arguments.out / "marks.npy", np.stack([marks for _, marks, _ in found]))
        text = json.dumps([described for _, _, described in found], indent=0)
        (arguments.out / "records.json").write_text(text + "\n", encoding="utf-8")
    except (InputError, OSError) as error:
        print(f"llava_ecg.train.tiny.records: {error}", file=sys.stderr)
        return 2
    print(f"{arguments.out}: {len(found)} records")
    return 0


if __name__ == "__main__":
    sys.exit(main())
