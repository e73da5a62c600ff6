"""`Claim`: one checkable statement of a text. What the quantities and their values are stands in docs/grounding.md."""

from __future__ import annotations

from dataclasses import dataclass

TERRITORIES: dict[str, tuple[str, ...]] = {
    "inferior": ("II", "III", "aVF"),
    "lateral": ("I", "aVL", "V5", "V6"),
    "high lateral": ("I", "aVL"),
    "septal": ("V1", "V2"),
    "anterior": ("V3", "V4"),
    "anteroseptal": ("V1", "V2", "V3", "V4"),
    "anterolateral": ("I", "aVL", "V3", "V4", "V5", "V6"),
    "inferolateral": ("I", "II", "III", "aVL", "aVF", "V5", "V6"),
    "precordial": ("V1", "V2", "V3", "V4", "V5", "V6"),
    "right precordial": ("V1", "V2", "V3"),
    "left precordial": ("V4", "V5", "V6"),
    "limb": ("I", "II", "III", "aVR", "aVL", "aVF"),
}


@dataclass(frozen=True)
class Claim:
    """One checkable statement of a text.

    Attributes:
        quantity: such as ``pr_ms`` or ``st_category``; see the table in docs/grounding.md.
        value: a number in `unit`, or a word such as ``"prolonged"``; None for a range.
        unit: ``"bpm"``, ``"ms"``, ``"deg"`` or ``"mV"`` whatever the text used; ``""`` for words.
        leads: the canonical names of the leads that the text restricts it to; empty for the whole ECG.
        territory: a key of `TERRITORIES` where the text names the leads by one, else empty.
        comparison: ``"="``, ``"<"`` (also at most), ``">"`` (also at least) or ``"range"``.
        low, high: the bounds of a range, in `unit`.
        negated: the text denies it.
        hedged: the text only thinks it possible.
        span: (start, end), so that ``text[start:end]`` of the whole text is `text`.
        text: the words that state the value.
    """

    quantity: str
    value: float | str | None
    unit: str = ""
    leads: tuple[str, ...] = ()
    territory: str = ""
    comparison: str = "="
    low: float | None = None
    high: float | None = None
    negated: bool = False
    hedged: bool = False
    span: tuple[int, int] = (0, 0)
    text: str = ""

    @property
    def said(self) -> tuple[object, ...]:
        """What it says, wherever the text does: all but `span` and `text`."""
        return (
            self.quantity, self.value, self.unit, self.leads, self.territory, self.comparison, self.low, self.high,
            self.negated, self.hedged,
        )  # fmt: skip

    @property
    def where(self) -> str:
        """The leads in words: the territory, else the names; empty for the whole ECG."""
        return f"{self.territory} leads" if self.territory else ", ".join(self.leads)
