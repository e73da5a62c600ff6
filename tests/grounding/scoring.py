"""How well `find_claims` finds what the test sentences say: precision, recall and F1 over claims; for tests and bench.

A found claim is right if quantity, value (numbers within 1 %), comparison, bounds, leads (as a set), negated and hedged
are those of a claim of the sentence that its span overlaps. Each claim of a sentence is matched once.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llava_ecg.grounding.claims import Claim, find_claims

SENTENCES = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Sentence:
    """A text and what it says. `file` is the name of its file, `part` "dev" or "test"."""

    id: str
    text: str
    part: str
    file: str
    claims: tuple[Mapping[str, Any], ...]


@dataclass
class Score:
    """Counts over claims: right ones, those of the sentences (`said`) and those that were found."""

    right: int = 0
    said: int = 0
    found: int = 0
    by_quantity: dict[str, Counter[str]] = field(default_factory=dict)

    @property
    def f1(self) -> float:
        return 2 * self.right / (self.said + self.found) if self.said + self.found else 1.0

    @property
    def precision(self) -> float:
        return self.right / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        return self.right / self.said if self.said else 1.0


def load(folder: Path = SENTENCES, reports: Path | None = None) -> list[Sentence]:
    """The test sentences of every file of claims; reports of PTB-XL only where `reports`, their labels.csv, is given
    and exists."""
    texts = _reports(reports)
    out = []
    for path in sorted(folder.glob("*.jsonl")):
        for row in map(json.loads, filter(str.strip, path.read_text(encoding="utf-8").splitlines())):
            if "claims" not in row:
                continue
            text = row.get("text") if "text" in row else texts.get(str(row.get("ptbxl_ecg_id", "")))
            if text is not None:
                out.append(Sentence(str(row["id"]), text, row["part"], path.stem, tuple(row["claims"])))
    return out


def _reports(path: Path | None) -> dict[str, str]:
    if path is None or not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {row["ecg_id"]: row["report"] for row in csv.DictReader(file)}


def score(sentences: Iterable[Sentence], *, hedges: bool = True) -> Score:
    """The counts over all sentences; without `hedges` the hedged flag is not compared."""
    total = Score()
    for sentence in sentences:
        found = find_claims(sentence.text)
        pairs = match(sentence, found, hedges=hedges)
        total.right += len(pairs)
        total.said += len(sentence.claims)
        total.found += len(found)
        for gold in sentence.claims:
            total.by_quantity.setdefault(gold["quantity"], Counter())["said"] += 1
        for claim in found:
            total.by_quantity.setdefault(claim.quantity, Counter())["found"] += 1
        for _, claim in pairs:
            total.by_quantity[claim.quantity]["right"] += 1
    return total


def match(sentence: Sentence, found: list[Claim], *, hedges: bool = True) -> list[tuple[Mapping[str, Any], Claim]]:
    """The pairs of a claim of the sentence and the claim that was found for it."""
    left = list(found)
    pairs = []
    for gold, spans in zip(sentence.claims, _spans(sentence), strict=True):
        for claim in left:
            if _same(gold, claim, hedges) and any(
                start < claim.span[1] and claim.span[0] < end for start, end in spans
            ):
                pairs.append((gold, claim))
                left.remove(claim)
                break
    return pairs


def _spans(sentence: Sentence) -> Iterator[list[tuple[int, int]]]:
    """Where each claim of a sentence stands: every place where its words do, or the one that it gives."""
    for gold in sentence.claims:
        says = gold.get("says", "")
        if not says:
            yield [(0, len(sentence.text))]
            continue
        starts = (
            [gold["at"]]
            if "at" in gold
            else [i for i in range(len(sentence.text)) if sentence.text.startswith(says, i)]
        )
        yield [(start, start + len(says)) for start in starts]


def _same(gold: Mapping[str, Any], claim: Claim, hedges: bool) -> bool:
    return (
        gold["quantity"] == claim.quantity
        and _equal(gold.get("value"), claim.value)
        and gold.get("comparison", "=") == claim.comparison
        and _equal(gold.get("low"), claim.low)
        and _equal(gold.get("high"), claim.high)
        and set(gold.get("leads", ())) == set(claim.leads)
        and bool(gold.get("negated", False)) == claim.negated
        and (not hedges or bool(gold.get("hedged", False)) == claim.hedged)
    )


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, int | float) and isinstance(b, int | float):
        return abs(a - b) <= 0.01 * max(abs(a), abs(b), 1e-9)
    return bool(a == b)
