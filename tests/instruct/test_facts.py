"""Facts: measured once, kept, and made anew where something changed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llava_ecg.ecg.scaled import NO_VOLTS
from llava_ecg.ecg.simulate import Heart
from llava_ecg.errors import InputError
from llava_ecg.instruct import facts as module
from llava_ecg.instruct.facts import Facts, FactsFolder, Given, key_of, make_facts

from .made import save


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    path = save(tmp_path_factory.mktemp("facts"), "one", Heart(rate_bpm=72))
    return Given(path, path.name, report="sinus rhythm", patient="p")


def test_a_second_run_reads_no_signal(given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = FactsFolder(tmp_path)
    first, kept = folder.get(given)
    assert not kept and first.measured.heart_rate_bpm == pytest.approx(72, abs=3)

    def read(path: Path) -> Any:
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr(module, "read", read)
    assert folder.get(given) == (first, True)
    other, kept = folder.get(replace(given, report="atrial fibrillation"))
    assert kept and [each.name for each in other.diagnoses] == ["atrial fibrillation"]
    assert other.measured == first.measured and other.digest != first.digest


def test_what_changes_the_key(given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = key_of(given)
    assert key_of(replace(given, report="other", name="elsewhere.npz")) == key
    changed = save(tmp_path, "one", Heart(rate_bpm=73))
    keys = {
        key,
        key_of(replace(given, sex="male")),
        key_of(replace(given, volts=False)),
        key_of(replace(given, path=changed)),
    }
    monkeypatch.setattr(module, "measure_version", lambda: "another")
    assert len(keys | {key_of(given)}) == 5


def test_a_damaged_file_is_made_anew(given: Given, tmp_path: Path) -> None:
    folder = FactsFolder(tmp_path)
    first, _ = folder.get(given)
    [path] = tmp_path.glob("*/*.json")
    path.write_text(path.read_text()[:1000])
    assert folder.get(given) == (first, False)
    assert Facts.from_dict(json.loads(path.read_text())) == first
    with pytest.raises(InputError, match="schema 99"):
        Facts.from_dict({**first.to_dict(), "schema": 99})


def test_without_volts_no_amplitude_is_known(given: Given) -> None:
    whole, bare = (make_facts(replace(given, volts=volts)).measured for volts in (True, False))
    assert (bare.heart_rate_bpm, bare.pr_ms, bare.qrs_ms, bare.qt_ms) == (
        *(whole.heart_rate_bpm, whole.pr_ms, whole.qrs_ms, whole.qt_ms),
    )
    assert whole.axis_deg is not None and bare.axis_deg is None and bare.reasons["axis_deg"] == NO_VOLTS
    assert "axis_deg" in whole.spread and "axis_deg" not in bare.spread and "qt_ms" in bare.spread
    for lead in bare.leads.values():
        beside = ("per_beat", "reasons", "spread")
        known = {name for name, value in vars(lead).items() if value not in (None, "") and name not in beside}
        assert known <= {"p_present", "p_ms", "pr_ms", "qrs_ms", "t_ms", "qt_ms", "quality"}
        assert not [name for name in lead.per_beat if name.endswith("_mv")]
        assert lead.reasons["st60_mv"] == NO_VOLTS and not lead.spread
    for name in ("ST elevation", "T inversion", "left bundle branch block", "left ventricular hypertrophy by voltage"):
        assert whole.findings[name].present is not None and bare.findings[name].present is None


def test_a_long_recording_is_measured_as_far_as_it_is_shown(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHOWN_S", 4.0)
    found = make_facts(given)
    assert found.seconds == 4.0 and all(beat.r_s < 4 for beat in found.measured.beats)


def test_no_such_file(given: Given) -> None:
    with pytest.raises(InputError, match="there is no"):
        key_of(replace(given, path=given.path.with_name("none.npz")))
