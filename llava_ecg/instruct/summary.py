"""`Options` and `Summary`: how a set is made, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_TOLD = 50  # contradicted claims that are told in words


@dataclass(frozen=True)
class Options:
    """How a set is made.

    Attributes:
        out: the file for training, ``.jsonl``.
        facts: the folder of facts.
        images: where the pages are drawn; None draws none.
        gem: whether each line carries GEM's ``machine_measurements``.
        val: the share of the patients that is kept for validation where the source does not say it.
        attempts: versions of a text that are drawn before a task is given up.
    """

    out: Path
    facts: Path
    images: Path | None = None
    gem: bool = False
    val: float = 0.05
    attempts: int = 4

    def beside(self, what: str) -> Path:
        """``OUT.WHAT.jsonl``."""
        return self.out.with_name(f"{self.out.stem}.{what}.jsonl")


@dataclass
class Summary:
    """What became of it.

    Attributes:
        recordings, measured: how many there were, and how many of them had to be measured.
        lines: split -> lines written; tasks: task -> lines.
        set_aside, failures: recordings.
        set_aside_for: diagnosis -> recordings set aside because of it.
        drafts: versions of texts that were drawn; refused: reason -> how many of them.
        given_up: task -> recordings for which no version was kept.
        audit: status -> claims in the lines written.
        contradicted: the first claims that the audit refused, in words.
        pages_left_out: recordings without a page, since they are not in mV.
    """

    recordings: int = 0
    measured: int = 0
    lines: Counter[str] = field(default_factory=Counter)
    tasks: Counter[str] = field(default_factory=Counter)
    set_aside: int = 0
    failures: int = 0
    set_aside_for: Counter[str] = field(default_factory=Counter)
    drafts: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    given_up: Counter[str] = field(default_factory=Counter)
    audit: Counter[str] = field(default_factory=Counter)
    contradicted: list[str] = field(default_factory=list)
    pages_left_out: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for ``json.dumps``."""
        return {key: dict(value) if isinstance(value, Counter) else value for key, value in vars(self).items()}

    def add(self, other: Mapping[str, Any]) -> None:
        """Count what another one counted, given as `to_dict` gives it; what is not there counts nothing."""
        for key, value in other.items():
            held = vars(self)[key]
            if isinstance(held, Counter):
                held.update(value)
            elif isinstance(held, list):
                held += value[: _TOLD - len(held)]
            else:
                setattr(self, key, held + value)

    def told(self, words: list[str]) -> None:
        """Keep the first contradicted claims."""
        self.contradicted += words[: max(0, _TOLD - len(self.contradicted))]
