"""How fast facts are made, what the composer writes on hearts of known truth, and how varied a file of its texts is.

python scripts/bench/instruct.py --texts grounding.jsonl               # distinct n-grams, lengths
python scripts/bench/instruct.py --simulated 100                       # stated numbers against the truth
OMP_NUM_THREADS=1 python scripts/bench/instruct.py --speed ../shared/data/cinc2021
"""

from __future__ import annotations

import argparse
import re
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
    parser.add_argument("--speed", type=Path, metavar="DIR")
    arguments = parser.parse_args()
    if arguments.texts:
        variety(arguments.texts)
    if arguments.simulated:
        print(truth(arguments.simulated))
    if arguments.speed:
        speed(arguments.speed)


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


def truth(count: int) -> dict[str, Any]:
    """Numbers that the composer states of simulated hearts, against what is true of them.

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
        for seed in range(count):
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


def speed(folder: Path) -> None:
    """Facts a second and core, beside reading and measuring alone, in turns; and a second run."""
    from llava_ecg.ecg.formats import read
    from llava_ecg.ecg.measure import measure
    from llava_ecg.instruct.facts import SHOWN_S, FactsFolder
    from llava_ecg.instruct.sources import listed

    given = listed(folder).given
    alone, made, again = [], [], []
    with tempfile.TemporaryDirectory() as place:
        facts = FactsFolder(Path(place))
        for each in given:
            begun = time.process_time()
            measure(read(each.path).with_derived().window(0.0, SHOWN_S))
            alone.append(time.process_time() - begun)
            for times in (made, again):
                begun = time.process_time()
                facts.get(each)
                times.append(time.process_time() - begun)
    for name, times in (("read and measured alone", alone), ("facts", made), ("facts, second run", again)):
        print(f"{name}: {len(times) / sum(times[1:]):.1f} a second, median {1000 * float(np.median(times)):.1f} ms")


if __name__ == "__main__":
    main()
