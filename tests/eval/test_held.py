"""Answers are held against the part of an ECG that the model was shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.eval.items import Answered, Item, Told
from llava_ecg.eval.marking import by_word
from llava_ecg.eval.marking_measured import Grounding, Readings


@pytest.fixture(scope="module")
def item(tmp_path_factory: pytest.TempPathFactory) -> Item:
    """Ten seconds at 50 bpm, and ten at 100."""
    parts = [simulate(Heart(rate_bpm=rate), seed=3)[0] for rate in (50.0, 100.0)]
    signal = np.concatenate([each.signal for each in parts], axis=1)
    path = tmp_path_factory.mktemp("held") / "a.npz"
    np.savez(path, signal=signal, rate=500, unit="mV", leads=parts[0].leads)
    return Item("a", "What is the rate?", (), ({"ecg": str(path)},))


@pytest.mark.parametrize(("shown", "rate"), [((0.0, 10.0), 50), ((10.0, 20.0), 100)])
def test_of_what_was_shown(item: Item, shown: tuple[float, float], rate: int) -> None:
    read = Readings().read(item, Answered("The rate is 50 bpm.", shown=shown))
    assert read.more["measured"]["heart_rate_bpm"] == pytest.approx(rate, abs=2)
    grounded = Grounding().read(item, Answered("The rate is 50 bpm.", shown=shown))
    assert grounded.more["counts"]["own"] == ((1, 0) if rate == 50 else (0, 1))
    assert "shuffled" not in grounded.more["counts"] and "ceiling" not in grounded.more["counts"]


def test_a_text_that_broke_off_is_read_so(item: Item) -> None:
    """The last number of an answer that was cut may be half a number."""
    text = "The rate is 50 bpm. The PR interval is 16"
    whole, cut = (Answered(text, whole=each, shown=(0.0, 10.0)) for each in (True, False))
    assert Grounding().read(item, whole).more["counts"]["own"] == (1, 1)
    assert Grounding().read(item, cut).more["counts"]["own"] == (1, 0)
    assert Readings().read(item, whole).said == {"heart_rate_bpm": 50, "pr_ms": 16}
    assert Readings().read(item, cut).said == {"heart_rate_bpm": 50}


def test_readings_are_the_first_plain_numbers(item: Item) -> None:
    def said(text: str) -> Any:
        return Readings().read(item, Answered(text, shown=(0.0, 10.0))).said

    assert said("Heart rate 52 bpm. PR 160 ms, QRS 90 ms, QT 400 ms, QTc 410 ms.") == {
        "heart_rate_bpm": 52,
        "pr_ms": 160,
        "qrs_ms": 90,
        "qt_ms": 400,
        "qtc_bazett_ms": 410,
    }
    assert said("PR is normal.") is None
    assert said("The PR interval is below 200 ms.") is None


def test_rouge_by_hand() -> None:
    assert by_word("a b c d", "a x c") == pytest.approx(2 * 2 / 7)
    assert by_word("A b", "a B") == 1
    assert by_word("", "") == 1 and by_word("a", "") == 0


def test_silence_is_unparsed_and_has_no_score(item: Item) -> None:
    found = Grounding().read(item, Answered("I can't tell."))
    assert found.said is None
    scores = Grounding().scores([item], [found])
    assert scores.unparsed == 1 and scores.figures["score"].value is None
    assert not Grounding().right(item, found)
    assert Grounding().right(item, Told("", ["x"], {"counts": {"own": (1, 0)}}))


def test_a_missing_record_is_one_sentence(tmp_path: Path) -> None:
    from llava_ecg.errors import InputError

    gone = Item("a", "?", (), ({"ecg": str(tmp_path / "gone.hea")},))
    with pytest.raises(InputError, match="gone.hea"):
        Readings().read(gone, Answered("PR 160 ms."))
