"""Sex and age of a patient as files say them, typed once: ``"male"``, ``"female"`` or nothing, and years or nothing;
and the thresholds that depend on them. Nothing here fails."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

OLDEST = 125.0
"""Years; a larger number is a code, such as PTB-XL's 300 for everyone above 89, and says no age."""

_MALE = "m male man boy mann männlich maennlich masculine masculin masculino homme hombre 0"
_FEMALE = "f female woman girl w frau weiblich feminine feminin féminin femenino femme mujer 1"
_SEX = {
    **dict.fromkeys(_MALE.split(), "male"),
    **dict.fromkeys(_FEMALE.split(), "female"),
}  # 0 and 1 are PTB-XL's codes
_YEARS = {"y": 1.0, "j": 1.0, "a": 1.0, "m": 1 / 12, "w": 7 / 365.25, "d": 1 / 365.25, "t": 1 / 365.25}
_AGE = re.compile(
    r"\+?(\d{1,3}(?:[.,]\d+)?)\s*"
    r"(y|yrs?|years?(?:\s+old)?|j|jahre?|a|ans?|m|months?|monate?|w|weeks?|wochen?|d|days?|tage?)?\.?",
    re.ASCII | re.IGNORECASE,
)


@dataclass(frozen=True)
class Person:
    """What thresholds depend on; None where it is not known. Each threshold comes with whose it is, so that a threshold
    that was chosen for want of sex or age is told as such.

    Attributes:
        male: True, False or None.
        age: years.
    """

    male: bool | None = None
    age: float | None = None

    @classmethod
    def of(cls, sex: Any, age: Any = None) -> Person:
        """From what a file, or a user, says of sex and age; see `sex_of` and `age_of`."""
        return cls({"male": True, "female": False}.get(sex_of(sex) or ""), age_of(age))

    @property
    def qtc_ms(self) -> tuple[float, str]:
        """The longest normal QTc (Bazett) in ms, and whose it is (AHA/ACCF/HRS 2009, part IV: 450 for men, 460 for
        women)."""
        if self.male:
            return 450.0, "men"
        return 460.0, "women" if self.male is False else f"women, {_UNKNOWN}"

    @property
    def cornell_mv(self) -> tuple[float, str]:
        """The largest normal R in aVL with S in V3 in mV, and whose it is (AHA/ACCF/HRS 2009, part V: 2.8 for men, 2.0
        for women)."""
        if self.male is False:
            return 2.0, "women"
        return 2.8, "men" if self.male else f"men, {_UNKNOWN}"

    def st_elevation_mv(self, lead: str) -> tuple[float, str]:
        """The least ST elevation at J in mV, and whose it is (empty where it is everybody's).

        0.1; in V2 and V3 0.15 in women, 0.2 in men from 40 years on, 0.25 in younger men (Fourth Universal Definition
        of Myocardial Infarction, 2018). A man of unknown age is taken for one of 40 or more, and so is whoever is of
        unknown sex: the middle one of the three, which most readers use.
        """
        if lead not in ("V2", "V3"):
            return 0.1, ""
        if self.male is False:
            return 0.15, "women"
        if self.male and self.age is not None and self.age < 40:
            return 0.25, "men below 40"
        unknown = "the sex is not known" if self.male is None else "the age is not known" if self.age is None else ""
        return 0.2, f"men from 40, used as {unknown}" if unknown else "men from 40"


_UNKNOWN = "used as the sex is not known"


def person(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with ``sex`` and ``age`` typed by `sex_of` and `age_of`, and left out where they say nothing; other
    keys as they are."""
    typed = {key: value for key, value in values.items() if key not in ("sex", "age")}
    for key, value in (("age", age_of(values.get("age"))), ("sex", sex_of(values.get("sex")))):
        if value is not None:
            typed[key] = value
    return typed


def sex_of(value: Any) -> str | None:
    """``male``, ``female``, or None for what is neither, such as DICOM's O.

    Args:
        value: a word or letter in any case (``F``, ``Male``, ``weiblich``), or PTB-XL's code, 0 for male and 1 for
            female.
    """
    value = _scalar(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _SEX.get(str(int(value))) if value in (0, 1) else None
    if not isinstance(value, str):
        return None
    word = value.strip(" \t\r\n\0\"'.,;").casefold()
    return _SEX.get(word.removesuffix(".0"))


def age_of(value: Any) -> float | None:
    """Years, or None for what is no age: NaN, a negative number, one above `OLDEST`, a bound such as ``> 89``.

    Args:
        value: a number, or text such as ``55``, ``55 years`` or DICOM's ``063Y`` and ``006M``.
    """
    value = _scalar(value)
    if isinstance(value, str):
        match = _AGE.fullmatch(value.strip(" \t\r\n\0"))
        if match is None:
            return None
        unit = _YEARS[match[2][0].lower()] if match[2] else 1.0
        value = round(float(match[1].replace(",", ".")) * unit, 2)
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 <= value <= OLDEST
        or not math.isfinite(value)
    ):
        return None
    return float(value)


def _scalar(value: Any) -> Any:
    """A plain value: NumPy's numbers and texts unpacked, bytes decoded."""
    if not isinstance(value, str | int | float | bytes) and hasattr(value, "tolist"):
        value = value.tolist()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
