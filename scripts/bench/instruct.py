"""How fast facts and sets are made, what the composer writes on hearts of known truth, and how varied a file of its
texts is.

python scripts/bench/instruct.py --texts grounding.jsonl               # distinct n-grams, lengths
python scripts/bench/instruct.py --simulated 100                       # stated numbers against the truth
OMP_NUM_THREADS=1 python scripts/bench/instruct.py --speed ../shared/data/cinc2021 \
    --json scripts/bench/results/instruct_speed_cpu.json
OMP_NUM_THREADS=1 python scripts/bench/instruct.py --processes playground/grounding/ptbxl/records.csv --limit 320 \
    --json scripts/bench/results/instruct_processes_cpu.json
python scripts/bench/instruct.py --listing 800000                      # time and memory before the first recording
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import re
import resource
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=Path, metavar="FILE.jsonl")
    parser.add_argument("--simulated", type=int, default=0, metavar="N")
    parser.add_argument("--first_seed", type=int, default=0, help="of the simulated hearts")
    parser.add_argument("--speed", type=Path, metavar="DIR")
    parser.add_argument("--processes", type=Path, metavar="LIST.csv")
    parser.add_argument("--listing", type=int, default=0, metavar="N")
    parser.add_argument("--limit", type=int, help="recordings, with --processes")
    parser.add_argument("--rounds", type=int, default=3, help="with --speed and --processes")
    parser.add_argument("--json", type=Path, help="write the figures of --speed or --processes here too")
    arguments = parser.parse_args()
    if arguments.texts:
        variety(arguments.texts)
    if arguments.simulated:
        print(json.dumps(truth(arguments.simulated, arguments.first_seed), indent=2))
    if arguments.speed:
        tell(speed(arguments.speed, arguments.rounds), arguments.json)
    if arguments.processes:
        tell(processes(arguments.processes, arguments.limit, arguments.rounds), arguments.json)
    if arguments.listing:
        tell(listing(arguments.listing), arguments.json)


def tell(found: dict[str, Any], path: Path | None) -> None:
    """Print figures with the machine that they are of, and write them where that is asked for."""
    found = {"machine": platform.machine(), "python": platform.python_version(), "numpy": np.__version__, **found}
    text = json.dumps(found, indent=2)
    print(text)
    if path is not None:
        path.write_text(text + "\n", encoding="utf-8")


def variety(path: Path) -> None:
    """Distinct n-grams over all, of the answers; numbers are one word."""
    from llava_ecg.instruct.produce import texts

    answers = [answer for _, _, answer in texts(path)]
    words = [re.findall(r"[a-z'-]+|<n>", re.sub(r"-?\d+(\.\d+)?", "<n>", answer.lower())) for answer in answers]
    print(
        f"{len(answers)} answers, {len(set(answers))} of them distinct, {sum(map(len, words)) / len(words):.1f} words"
    )
    for size in (1, 2, 3):
        grams = Counter(tuple(each[at : at + size]) for each in words for at in range(len(each) - size + 1))
        print(f"{size}-grams: {len(grams)} distinct of {sum(grams.values())}, {len(grams) / sum(grams.values()):.4f}")


def truth(count: int, first: int = 0) -> dict[str, Any]:
    """Numbers that the composer states of the simulated hearts of seeds from `first` on, against what is true of them.

    Returns:
        ``stated`` and ``right``; ``wrong``: heart -> how many; and the first twenty ``sentences`` on them.
    """
    from llava_ecg.ecg.simulate import simulate
    from llava_ecg.grounding.claims import find_claims
    from llava_ecg.grounding.tolerances import DEFAULT
    from llava_ecg.instruct.facts import Given, make_facts
    from llava_ecg.instruct.guide import guide
    from llava_ecg.instruct.kept import check
    from llava_ecg.instruct.writer import OfflineWriter

    writer = OfflineWriter(guide())
    stated, wrong = 0, []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + count):
            recording, true = simulate(seed=seed)
            path = Path(folder) / f"{seed}.npz"
            np.savez(path, signal=recording.signal, rate=recording.rate, unit="mV", leads=np.array(recording.leads))
            facts = make_facts(Given(path, path.name))
            for task, draft in writer.single(facts):
                sample = draft(writer.rng(facts, task, 1))
                if sample is None or check(sample).refused:
                    continue
                for exchange in sample.exchanges:
                    for claim in find_claims(exchange.answer):
                        value = getattr(true, claim.quantity, None)
                        if not isinstance(claim.value, float | int) or not isinstance(value, float) or claim.leads:
                            continue
                        if claim.comparison != "=" or claim.negated:
                            continue
                        stated += 1
                        apart = abs(claim.value - value)
                        apart = min(apart, 360 - apart) if claim.unit == "deg" else apart
                        if apart > DEFAULT.of(claim.quantity, value):
                            wrong.append(f"{seed}: {claim.quantity} {claim.value:g}, true {value:.0f}")
    hearts = Counter(int(sentence.split(":")[0]) for sentence in wrong)
    return {"stated": stated, "right": stated - len(wrong), "wrong": dict(hearts), "sentences": wrong[:20]}


def speed(folder: Path, rounds: int) -> dict[str, Any]:
    """Facts beside reading and measuring alone, in CPU seconds of one core, in turns on the same files; and a second
    run."""
    from llava_ecg.ecg.formats import read
    from llava_ecg.ecg.measure import measure
    from llava_ecg.instruct.facts import SHOWN_S, FactsFolder
    from llava_ecg.instruct.sources import listed

    given = listed(folder).given
    measure(read(given[0].path).with_derived())  # the libraries are loaded
    times: dict[str, list[float]] = {"alone": [], "facts": [], "again": []}

    def took(name: str, what: Any) -> None:
        begun = time.process_time()
        what()
        times[name].append(time.process_time() - begun)

    for turn in range(rounds):
        with tempfile.TemporaryDirectory() as place:
            facts = FactsFolder(Path(place))
            for number, each in enumerate(given):
                alone = lambda each=each: measure(read(each.path).with_derived().window(0.0, SHOWN_S))  # noqa: E731
                made = lambda each=each: facts.get(each)  # noqa: E731, B023
                pair = [("alone", alone), ("facts", made)]
                for name, what in pair if (turn + number) % 2 else reversed(pair):
                    took(name, what)
                took("again", made)
    second = {name: len(found) / sum(found) for name, found in times.items()}
    return {
        "recordings": len(given),
        "rounds": rounds,
        "a_second_and_core": {name: round(value, 2) for name, value in second.items()},
        "median_ms": {name: round(1000 * float(np.median(found)), 1) for name, found in times.items()},
        "facts_slower_percent": round(100 * (second["alone"] / second["facts"] - 1), 1),
    }


def processes(records: Path, limit: int | None, rounds: int) -> dict[str, Any]:
    """The whole way from recordings to a set, facts new each time, with two processes and with one, in turns.

    Returns:
        ``seconds`` on the clock, the start of the processes included; ``cpu_seconds`` of all processes; and how much of
        the machine ``others`` had meanwhile. The two are compared over the runs in which that was less than a tenth;
        None where there are none. ``two_over_one_at_best`` is what the CPU seconds alone would allow.
    """
    from llava_ecg.instruct.engines import Here, Processes
    from llava_ecg.instruct.guide import guide
    from llava_ecg.instruct.produce import produce
    from llava_ecg.instruct.sources import listed
    from llava_ecg.instruct.summary import Options
    from llava_ecg.instruct.writer import OfflineWriter

    found, writer = listed(records, limit=limit), OfflineWriter(guide())
    produce(listed(records, limit=1), writer, Options(Path(tempfile.mkdtemp()) / "a.jsonl", Path(tempfile.mkdtemp())))
    engines = {"one": Here(), "two": Processes(2)}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in engines}
    same = []
    for turn in range(rounds):
        lines = set()
        for name in engines if turn % 2 else reversed(engines):
            with tempfile.TemporaryDirectory() as place:
                options = Options(Path(place) / "set.jsonl", Path(place) / "facts")
                begun, own, all_ = time.perf_counter(), cpu_seconds(), busy_seconds()
                produce(found, writer, options, engine=engines[name])
                seconds, own, all_ = time.perf_counter() - begun, cpu_seconds() - own, busy_seconds() - all_
                others = max(0.0, all_ - own) / seconds / (os.cpu_count() or 1)
                runs[name].append({"seconds": seconds, "cpu_seconds": own, "others": others})
                lines.add(options.out.read_bytes())
        same.append(len(lines) == 1)
    quiet = {name: [each["seconds"] for each in tried if each["others"] < 0.1] for name, tried in runs.items()}
    median = {name: float(np.median(values)) for name, values in quiet.items() if values}
    spent = {name: float(np.median([each["cpu_seconds"] for each in tried])) for name, tried in runs.items()}
    return {
        "recordings": len(found.given),
        "rounds": rounds,
        **{
            key: {name: [round(each[key], 2) for each in tried] for name, tried in runs.items()}
            for key in ("seconds", "cpu_seconds", "others")
        },
        "recordings_a_second": {name: round(len(found.given) / value, 2) for name, value in median.items()},
        "two_over_one": round(median["one"] / median["two"], 2) if len(median) == 2 else None,
        "two_over_one_at_best": round(2 * spent["one"] / spent["two"], 2),
        "same_lines": same,
    }


def busy_seconds() -> float:
    """Of all cores since the machine began, whoever had them."""
    user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def cpu_seconds() -> float:
    """Of this process and of those that it ended."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in both)


def listing(count: int) -> dict[str, Any]:
    """What the lists cost before the first recording is read: a table as MIMIC-IV-ECG's, with so many rows that all
    name one file."""
    from llava_ecg.instruct.guide import guide
    from llava_ecg.instruct.produce import settings_of, splits
    from llava_ecg.instruct.sources import listed
    from llava_ecg.instruct.summary import Options
    from llava_ecg.instruct.writer import OfflineWriter

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as place:
        table, file = Path(place) / "records.csv", Path(place) / "one.hea"
        file.touch()
        with table.open("w", newline="", encoding="utf-8") as out:
            rows = csv.writer(out)
            rows.writerow(
                ["record", "subject_id", *(f"report_{number}" for number in range(18)), "bandwidth", "filtering"]
            )
            for number in range(count):
                said = ["Sinus rhythm", "Left axis deviation", "Possible inferior infarct - age undetermined"]
                rows.writerow([file.name, 10_000_000 + number // 5, *said, *[""] * 15, "0.005-150 Hz", "60 Hz notch"])
        begun = time.perf_counter()
        found = listed(table)
        split = splits(found.given, 0.05)
        val = sum(split(each) == "val" for each in found.given)
        settings_of(found, OfflineWriter(guide()), Options(Path(place) / "x.jsonl", Path(place)))
        seconds = time.perf_counter() - begun
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"rows": count, "seconds": round(seconds, 1), "grown_mib": round(grown), "val": val}


if __name__ == "__main__":
    main()
