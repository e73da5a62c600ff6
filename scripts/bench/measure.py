r"""How well `llava_ecg.ecg` measures: against marks by hand, against other libraries, on simulated truth, and how fast.

Hardware: any CPU, one core. Time: about a minute a section, `--robustness` three. Memory: 1 GB.

    python scripts/bench/measure.py --ludb ../shared/data/ludb          # out of fold: tests/ecg/folds
    python scripts/bench/measure.py --ludb ../shared/data/ludb --baselines BASE/neurokit2.json BASE/openecg.json
    python scripts/bench/measure.py --ludb ../shared/data/ludb --ptbxl ../shared/data/ptbxl --simulated 60 --speed \
        --robustness ../shared/data --json scripts/bench/results/measure.json

Every record of LUDB is scored by the network that did not see it (`--folds`, five networks that
``scripts/train_delineator.py --fold k`` wrote). The files of `--baselines` come from
``scripts/bench/baseline_waves.py``, which runs in an environment of its own. Brackets are 95 % intervals of a paired
bootstrap over the records.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measure_inputs import judged, robustness
from wave_scores import IEC_MS, Tally, summary, tally

from llava_ecg.ecg.filters import highpass, resample
from llava_ecg.ecg.formats import read
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.plausible import plausible
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.ecg.waves import net
from llava_ecg.ecg.waves.delineate import RATE, delineate
from llava_ecg.ecg.waves.delineation import Delineation
from llava_ecg.ecg.waves.marks import Marked, Waves, fold_of, read_marked, record_names
from llava_ecg.errors import InputError

FOLDS = Path(__file__).resolve().parents[2] / "tests/ecg/folds"
TARGETS = {  # figure -> (at least or at most, value)
    "claims right %": (">=", 90.5), "p Se %": (">=", 98.8), "p PPV %": (">=", 96.5), "qrs Se %": (">=", 99.9),
    "qrs PPV %": (">=", 99.0), "t Se %": (">=", 99.5), "t PPV %": (">=", 99.3), "record pr_ms MAE": ("<=", 5.0),
    "record qrs_ms MAE": ("<=", 6.0), "record qt_ms MAE": ("<=", 8.0), "P reported there %": ("<=", 8.0),
}  # fmt: skip
EDGES = tuple(f"{edge} SD" for edge in ("p onset", "p end", "qrs onset", "qrs end", "t onset", "t end"))
SHOWN = (
    *TARGETS, *EDGES, "P found there %", "pr_ms right %", "qrs_ms right %", "qt_ms right %", "no P right %",
    *(f"{kind} {name} {what}" for kind in ("record", "overall") for name in IEC_MS for what in ("mean", "SD")),
)  # fmt: skip


def waves_of_leads(found: Delineation) -> list[Waves]:
    """A `Waves` a lead from a `Delineation`."""
    arrays = {"p": found.p, "qrs": found.qrs, "t": found.t}
    return [
        {name: array[np.isfinite(array[:, row, 0]), row] for name, array in arrays.items()}
        for row in range(len(found.leads))
    ]


def at_500_hz(record: Marked) -> np.ndarray:
    """The record's signal as `delineate` wants it."""
    return (
        np.asarray(resample(record.signal, record.rate, RATE), dtype=np.float64)
        if record.rate != RATE
        else record.signal
    )


def ours(records: Sequence[Marked], folds: dict[str, net.Network] | net.Network) -> list[Tally]:
    """The tallies of our delineator; with `folds`, record name -> the network that did not see it."""
    out = []
    for record in records:
        network = folds[record.name] if isinstance(folds, dict) else folds
        signal = at_500_hz(record)
        found = plausible(delineate(signal, STANDARD, network=network), signal.shape[1] / RATE)
        out.append(tally(record, waves_of_leads(found), bool(found.p_present)))
    return out


def baseline(records: Sequence[Marked], path: Path) -> tuple[str, list[Tally], dict[str, float]]:
    """(name, tallies, what else is known) of one library's file."""
    stored = json.loads(path.read_text())
    out, failures, times = [], 0, []
    for record in records:
        row = stored["records"][record.name]
        leads = [{name: np.array(waves).reshape(-1, 3) for name, waves in lead.items()} for lead in row["leads"]]
        shows = [bool(len(lead["p"]) >= 0.5 * max(1, len(lead["qrs"]))) for lead in leads if len(lead["qrs"])]
        out.append(tally(record, leads, sum(shows) > len(shows) / 2))
        failures += row["failures"]
        times.append(row["ms"])
    return stored["which"], out, {"failures": failures, "ms a record": float(np.median(times))}


def bootstrapped(columns: dict[str, list[Tally]], rounds: int) -> dict[str, dict[str, list[float]]]:
    """name -> figure -> [value, low, high, low and high of the difference to the first column]; the same records drawn
    for all."""
    rng = np.random.default_rng(0)
    count = len(next(iter(columns.values())))
    draws = [rng.integers(0, count, count) for _ in range(rounds)]
    values = {name: summary(tallies) for name, tallies in columns.items()}
    drawn = {name: [summary([tallies[at] for at in draw]) for draw in draws] for name, tallies in columns.items()}
    first = next(iter(columns))
    out: dict[str, dict[str, list[float]]] = {}
    for name in columns:
        out[name] = {}
        for figure in SHOWN:
            if figure not in values[name]:
                continue
            own = np.array([each.get(figure, np.nan) for each in drawn[name]])
            base = np.array([each.get(figure, np.nan) for each in drawn[first]])
            spread = (
                [*np.nanpercentile(own, [2.5, 97.5]), *np.nanpercentile(own - base, [2.5, 97.5])]
                if rounds
                else [np.nan] * 4
            )
            out[name][figure] = [round(float(value), 3) for value in (values[name][figure], *spread)]
    return out


def print_table(rows: dict[str, dict[str, list[float]]], notes: dict[str, str]) -> None:
    """The figures, a column a library."""
    names = list(rows)
    print(f"{'':<26}" + "".join(f"{name + notes.get(name, ''):>30}" for name in names) + f"{'target':>12}")
    for figure in SHOWN:
        cells = []
        for name in names:
            if figure not in rows[name]:
                cells.append(f"{'-':>30}")
                continue
            value, low, high, from_low, from_high = rows[name][figure]
            differs = "" if name == names[0] or from_low <= 0 <= from_high else " *"
            cells.append(f"{f'{value:.1f} [{low:.1f}, {high:.1f}]{differs}':>30}")
        target = f"{TARGETS[figure][0]} {TARGETS[figure][1]:g}" if figure in TARGETS else _iec(figure)
        print(f"{figure:<26}" + "".join(cells) + f"{target:>12}")
    if len(names) > 1:
        print("* differs from the first column (95 % of the paired differences lie on one side of 0)")


def _iec(figure: str) -> str:
    kind, name, what = (figure.split() + ["", ""])[:3]
    if kind not in ("record", "overall") or name not in IEC_MS or what not in ("mean", "SD"):
        return ""
    return f"|x| <= {IEC_MS[name][0]}" if what == "mean" else f"<= {IEC_MS[name][1]}"


_RHYTHMS = ("SR", "SBRAD", "SARRH", "STACH", "AFIB", "AFLT")


def ptbxl(folder: Path, rhythms: Sequence[str] = _RHYTHMS) -> dict[str, Any]:
    """P waves found in fold 9 of PTB-XL's sample by rhythm label; neither the network nor a threshold has seen that
    fold."""
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["strat_fold"] == "9" and row["rhythm"] in rhythms]
    signals = np.load(folder / "signals_250hz_int16.npy", mmap_mode="r")
    found: dict[str, list[bool]] = {}
    for row in rows:
        signal = highpass(signals[int(row["row"])].astype(np.float32) / 1000, 250.0)
        waves = delineate(np.asarray(resample(signal, 250.0, RATE), dtype=np.float64), STANDARD)
        found.setdefault(row["rhythm"], []).append(bool(waves.p_present))
    return {rhythm: {"records": len(each), "P reported": sum(each)} for rhythm, each in found.items()}


def simulated(count: int) -> dict[str, float]:
    """Errors on clean simulated hearts: R amplitude lost in %, ST60 in uV at the same instant, rate in bpm."""
    rng = np.random.default_rng(1)
    lost, st, rate, intervals = [], [], [], {"pr_ms": [], "qrs_ms": [], "qt_ms": []}
    for seed in range(count):
        heart = Heart(
            rate_bpm=float(rng.uniform(45, 110)), qrs_ms=float(rng.uniform(75, 110)),
            axis_deg=float(rng.uniform(-30, 90)), st_territory=str(rng.choice(["inferior", "anterior", "lateral"])),
            st_mv=float(rng.uniform(-0.2, 0.3)), qt_ms=360.0, pr_ms=150.0,
        )  # fmt: skip
        recording, truth = simulate(heart, seed=seed)
        found = measure(recording)
        assert truth.heart_rate_bpm is not None and found.heart_rate_bpm is not None
        rate.append(abs(found.heart_rate_bpm - truth.heart_rate_bpm))
        for name, errors in intervals.items():
            errors.append(getattr(found, name) - getattr(truth, name))
        # the same instants of the untouched signal, which is 0 mV between the beats
        whole = [
            beat
            for beat in found.beats
            if beat.kind == "dominant" and beat.qrs_onset_s is not None and beat.qrs_end_s is not None
        ]
        for name, lead in found.leads.items():
            raw = recording.lead(name)
            peaks, levels = [], []
            for beat in whole:
                first, last = round(beat.qrs_onset_s * 500), round(beat.qrs_end_s * 500)
                level = raw[max(0, first - 8) : max(1, first)].mean()
                peaks.append(raw[first : last + 1].max() - level)
                if last + 32 <= len(raw):
                    levels.append(raw[last + 29 : last + 32].mean() - level)
            if lead.r_mv is not None and lead.r_mv > 0.2:
                lost.append(100 * (1 - lead.r_mv / float(np.median(peaks))))
            if lead.st60_mv is not None:
                st.append(1000 * abs(lead.st60_mv - float(np.median(levels))))
    out = {
        "hearts": count,
        "R lost %, median": float(np.median(lost)),
        "R lost %, 95th percentile": float(np.percentile(np.abs(lost), 95)),
    }
    out |= {
        "ST60 error uV, median": float(np.median(st)),
        "ST60 error uV, 95th percentile": float(np.percentile(st, 95)),
    }
    out |= {"rate error bpm, mean": float(np.mean(rate)), "rate error bpm, largest": float(np.max(rate))}
    return out | {
        f"{name} {what}": float(fn(errors))
        for name, errors in intervals.items()
        for what, fn in (("bias", np.mean), ("SD", np.std))
    }


def speed() -> dict[str, float]:
    """Milliseconds of processor time of `measure` for 10 s of a recording in memory, which what else the machine does
    touches least: fastest and median of 30, of 3 where it is longer; and the fastest at other rates."""
    out = {}
    for seconds, rate in ((10, 500), (60, 500), (600, 500), (10, 100), (10, 250), (10, 1000)):
        recording, _ = simulate(Heart(muscle_mv=0.01), seed=0, seconds=float(seconds), rate=float(rate))
        measure(recording)
        times = []
        for _ in range(30 if seconds == 10 else 3):
            start = time.process_time()
            measure(recording)
            times.append((time.process_time() - start) * 1000)
        out[f"{seconds} s at {rate} Hz, fastest, ms per 10 s"] = min(times) * 10 / seconds
        out[f"{seconds} s at {rate} Hz, median, ms per 10 s"] = float(np.median(times)) * 10 / seconds
    return out


def qtdb(folder: Path) -> dict[str, float]:
    """Other data: two leads, 250 Hz, 15 minutes, some beats marked by hand (q1c); Se and the SD of the error within a
    record."""
    from llava_ecg.ecg.formats.physionet import read_annotations
    from llava_ecg.ecg.waves.marks import NAMES, waves_of

    hits = {name: [0, 0] for name in NAMES.values()}
    spread: dict[str, list[float]] = {}
    for path in sorted(folder.glob("*.hea")):
        try:
            samples, symbols = read_annotations(path.with_suffix(""), "q1c")
        except InputError:
            continue
        recording = read(path)
        found = delineate(
            np.asarray(highpass(recording.resample(RATE).signal, RATE), dtype=np.float64), recording.leads
        )
        errors: dict[str, list[float]] = {}
        for symbol, onset, _, end in waves_of(samples, symbols):
            name = NAMES.get(symbol)
            if name is None:
                continue
            rows = {"p": found.p_all, "qrs": found.qrs_all, "t": found.t_all}[name]
            middle, here = rows.mean(axis=1), (onset + end) / 2 / recording.rate
            hits[name][1] += 1
            if len(rows) and np.isfinite(middle).any() and np.nanmin(np.abs(middle - here)) < 0.15:
                at = int(np.nanargmin(np.abs(middle - here)))
                hits[name][0] += 1
                errors.setdefault(f"{name} onset", []).append((rows[at, 0] - onset / recording.rate) * 1000)
                errors.setdefault(f"{name} end", []).append((rows[at, 1] - end / recording.rate) * 1000)
        for edge, values in errors.items():
            if len(values) > 2:
                spread.setdefault(f"{edge} SD within a record", []).append(float(np.std(values)))
    out = {f"{name} Se %": 100 * found / max(1, marked) for name, (found, marked) in hits.items()}
    return out | {edge: float(np.mean(values)) for edge, values in spread.items()}


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Score, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ludb", type=Path, help="folder of LUDB")
    parser.add_argument(
        "--folds",
        type=Path,
        default=FOLDS,
        help="folder of fold0.safetensors to fold4.safetensors (default: tests/ecg/folds)",
    )
    parser.add_argument("--only-folds", type=int, nargs="*", help="only the records of these folds")
    parser.add_argument(
        "--in-sample", action="store_true", help="the package's own weights, which have seen every record"
    )
    parser.add_argument("--baselines", type=Path, nargs="*", default=[], help="files of baseline_waves.py")
    parser.add_argument("--rounds", type=int, default=500, help="bootstrap rounds (default: %(default)s)")
    parser.add_argument("--ptbxl", type=Path, help="folder of PTB-XL's sample")
    parser.add_argument("--qtdb", type=Path, help="folder of QTDB (not in ../shared)")
    parser.add_argument("--simulated", type=int, default=0, help="how many simulated hearts")
    parser.add_argument(
        "--speed", action="store_true", help="time measure(); set OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1"
    )
    parser.add_argument("--robustness", type=Path, help="the folder ../shared/data")
    parser.add_argument(
        "--every", type=int, default=10, help="take each n-th record of the large tables for robustness"
    )
    parser.add_argument("--json", type=Path, help="write everything here")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore", RuntimeWarning)
    out: dict[str, Any] = {
        "machine": f"{platform.processor() or platform.machine()}, {platform.system()}",
        "weights": net.load().digest,
    }
    if options.ludb:
        names = record_names(options.ludb)
        folds = fold_of(names)
        names = [name for name in names if options.only_folds is None or folds[name] in options.only_folds]
        records = [read_marked(options.ludb / name) for name in names]
        networks: Any = net.load()
        if not options.in_sample:
            by_fold = {
                fold: net.load(options.folds / f"fold{fold}.safetensors")
                for fold in sorted({folds[name] for name in names})
            }
            networks = {name: by_fold[folds[name]] for name in names}
        columns = {"ours": ours(records, networks)}
        notes = {"ours": " (in sample!)" if options.in_sample else " (out of fold)"}
        for path in options.baselines:
            name, tallies, more = baseline(records, path)
            columns[name], notes[name] = tallies, " (saw 159 of LUDB's 200)" if name == "openecg" else ""
            out[f"{name} failures"], out[f"{name} ms a record"] = more["failures"], more["ms a record"]
        rows = bootstrapped(columns, options.rounds)
        out["ludb"] = {"records": len(records), "claims": summary(columns["ours"])["claims"], "columns": rows}
        print(f"LUDB, {len(records)} records, marks by hand; times in ms")
        print_table(rows, notes)
    sections = {
        "ptbxl": options.ptbxl and (lambda: ptbxl(options.ptbxl)),
        "qtdb": options.qtdb and (lambda: qtdb(options.qtdb)),
        "simulated": options.simulated and (lambda: simulated(options.simulated)),
        "speed": options.speed and speed,
        "robustness": options.robustness and (lambda: robustness(options.robustness, options.every)),
        "quality": options.robustness
        and (lambda: {"unacceptable recordings by leads with a note, AUC": judged(options.robustness / "cinc2011")}),
    }
    for name, section in sections.items():
        if section:
            out[name] = section()
            print(f"\n{name}")
            for key, value in out[name].items():
                print(f"  {key:<44}{value:.2f}" if isinstance(value, float) else f"  {key:<44}{value}")
    if not options.qtdb:
        print("\nqtdb: not available here (2 leads, 250 Hz, 15 min)")
    if options.json:
        options.json.write_text(json.dumps(out, indent=1) + "\n")
    return out


if __name__ == "__main__":
    main()
