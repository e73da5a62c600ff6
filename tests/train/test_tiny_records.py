"""What the embedded model learns from: its sources, what is measured on them, and what is done to them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from llava_ecg.ecg.measure import measure
from llava_ecg.ecg.render import draw_page
from llava_ecg.ecg.scaled import limb_scales
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.errors import InputError
from llava_ecg.train.tiny import records, sources
from llava_ecg.train.tiny.augment import Batch, augmented
from llava_ecg.train.tiny.sets import PARTS, Pages, Signals, load, waves_of_tokens, waves_on_page
from llava_ecg.train.tiny.targets import QUANTITIES, YES_NO, errors, loss, paces_of, roc_area, target_row
from llava_ecg.train.tiny.towers import SIZES, build_probe

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("set")
    assert records.main([str(out), "--simulated", "40", "--processes", "1", "--seed", "3"]) == 0
    return out


def test_limb_leads_get_their_ratios_back() -> None:
    recording, _ = simulate(Heart(axis_deg=-20, muscle_mv=0.01), seed=1)
    limbs = recording.signal[:6] - recording.signal[:6].mean(axis=1, keepdims=True)
    spread = limbs.std(axis=1)
    factors = limb_scales(limbs / spread[:, None])
    assert factors == pytest.approx(spread / spread.mean(), rel=0.01)


def test_the_set_on_the_disk(made: Path) -> None:
    described = json.loads((made / "records.json").read_text())
    signals, marks = np.load(made / "signals.npy"), np.load(made / "marks.npy")
    assert signals.shape == (40, 12, 5000) and signals.dtype == np.int16
    assert [record["split"] for record in described] == ["val"] * 2 + ["train"] * 38
    again = sources.simulated(5, 3, 2)
    assert np.abs(signals[5] / 1000 - again.recording.signal).max() <= 0.0006
    rates = [record["facts"]["heart_rate_bpm"] for record in described]
    assert rates[5] == pytest.approx(again.facts["heart_rate_bpm"], abs=3)
    beats = measure(again.recording).beats
    qrs = np.flatnonzero((marks[5] == 2) & (np.roll(marks[5], 1) != 2))
    assert len(qrs) == sum(beat.qrs_onset_s is not None for beat in beats)


def test_a_label_outweighs_a_wave_that_was_found() -> None:
    recording, _ = simulate(Heart(), seed=2)
    measured = measure(recording)
    assert records.facts_of(measured, {}, {})["pr_ms"] == measured.pr_ms is not None
    found = records.facts_of(measured, {}, {"atrial fibrillation": True})
    assert (found["p_present"], found["pr_ms"]) == (None, None)


def test_truth_outweighs_a_measurement_far_from_it() -> None:
    measured = measure(simulate(Heart(pr_ms=160), seed=2)[0])
    assert records.facts_of(measured, {"pr_ms": 165.0, "p_present": True}, {})["pr_ms"] == measured.pr_ms
    assert records.facts_of(measured, {"pr_ms": 230.0, "p_present": True}, {})["pr_ms"] == 230.0


def test_augmented_signals_keep_their_marks(made: Path) -> None:
    found = load(made, None, SIZES["ecg"], 0, 0)
    assert isinstance(found, Signals)
    rows = torch.arange(16)
    first, stretched = found.targets[:16], 0
    for seed in range(8):
        batch = Batch(found.values(rows), torch.from_numpy(found.marks[:16]), first, found.scaled[:16])
        now = augmented(batch, torch.Generator().manual_seed(seed))
        assert now.values.shape == batch.values.shape and now.marks.shape == batch.marks.shape
        factor = (now.targets[:, 2] / first[:, 2]).nanmean().item()
        assert now.targets[:, 0] == pytest.approx(first[:, 0] / factor, rel=1e-4)
        stretched += factor != 1
        steep = steps_of(now.values)
        inside = steep.amax(dim=2)[now.marks == 2].median()
        assert inside > 1.5 * steep.amax(dim=2)[now.marks == 0].median()
    assert 0 < stretched < 8


def steps_of(values: torch.Tensor) -> torch.Tensor:
    """[B, L, T] -> [B, T / 5, 5]: the steepest lead's steps, by the marks that they belong to."""
    return torch.nn.functional.pad(values.diff(dim=2).abs().amax(dim=1), (0, 1)).unflatten(1, (-1, 5))


def test_tokens_and_their_parts() -> None:
    marks = torch.zeros(1, 1000, dtype=torch.uint8)
    marks[0, 37] = 2
    waves = waves_of_tokens(marks)
    assert waves.shape == (1, 101, 10) and waves[0, 0].sum() == 0
    assert waves.nonzero().tolist() == [[0, 4, 7]]


def test_pages_are_drawn_once_and_say_where_waves_are(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tower = build_probe("image").tower
    found = load(made, tower, SIZES["image"], 6, 0)
    assert isinstance(found, Pages) and found.pages.shape == (6, 3, 336, 336)
    values, waves, targets = found.batch(torch.arange(6), torch.Generator().manual_seed(0))
    assert values.shape == (6, 3, 336, 336) and waves.shape == (6, 144, 14) and targets.shape[0] == 6
    assert (waves == 2).any(dim=(1, 2)).all()
    monkeypatch.setattr("llava_ecg.train.tiny.sets.draw_page", None)
    assert np.array_equal(load(made, tower, SIZES["image"], 6, 0).pages, found.pages)  # type: ignore[union-attr]


def test_waves_stand_on_the_page_where_they_are_drawn() -> None:
    recording, _ = simulate(Heart(rate_bpm=60), seed=1)
    marks = records.marks_of(measure(recording))
    page = draw_page(recording, dpi=100)
    waves = waves_on_page(page, marks, 12)
    assert waves.shape == (144, PARTS["image"])
    rows = waves.reshape(12, 12 * PARTS["image"])
    assert int(((rows > 0).sum(axis=1) > 0).sum()) == 4  # three rows of leads and the rhythm strip
    strip = (rows[-4:] == 2).any(axis=0)
    assert int((strip[1:] & ~strip[:-1]).sum()) >= len(measure(recording).beats) - 1


def test_soft_bins_return_their_value() -> None:
    for quantity in QUANTITIES:
        values = torch.tensor([quantity.centres[3].item(), quantity.centres[-4].item()])
        torch.testing.assert_close(quantity.expect(quantity.soft(values).log()), values, atol=quantity.step / 4, rtol=0)


def test_what_is_not_known_costs_nothing() -> None:
    probe, generator = build_probe("ecg"), torch.Generator().manual_seed(0)
    values, waves = torch.randn(2, 12, 5000, generator=generator), torch.zeros(2, 101, 10, dtype=torch.int64)
    told = probe(values)
    nothing = torch.full((2, len(QUANTITIES) + len(YES_NO)), math.nan)
    least = loss(told, nothing, waves)
    some = nothing.clone()
    some[0] = torch.tensor(target_row({"heart_rate_bpm": 70}, {"MI": True}))
    assert torch.isfinite(least) and loss(told, some, waves) > least
    assert set(errors(told, some)) == {"heart_rate_bpm"}


def test_the_rate_around_each_token() -> None:
    marks = torch.zeros(1, 1000, dtype=torch.uint8)
    for onset in (55, 155, 205, 900):  # an interval of 1 s, one of 0.5 s, a long one
        marks[0, onset : onset + 9] = 2
    paces = paces_of(waves_of_tokens(marks))[0]
    assert paces.shape == (101,) and paces[:6].isnan().all() and paces[91:].isnan().all()
    assert paces[6:16].tolist() == [60.0] * 10 and paces[16:21].tolist() == [120.0] * 5
    assert paces[22].item() == pytest.approx(6000 / 695)
    assert paces_of(torch.zeros(2, 101, 10, dtype=torch.int64)).isnan().all()


def test_area_under_the_curve() -> None:
    positive = torch.tensor([True, True, False, False])
    assert roc_area(torch.tensor([3.0, 1.0, 2.0, 0.0]), positive) == 0.75
    assert roc_area(torch.zeros(4), positive) == 0.5
    assert roc_area(torch.zeros(2), torch.tensor([True, True])) is None


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here")
def test_real_sources_and_their_splits() -> None:
    found = {}
    for name, source in (("ptbxl", sources.ptbxl), ("ludb", sources.ludb), ("cinc2021", sources.challenge_2021)):
        found[name] = list(source(SHARED / name))
    assert {source.split for source in found["ludb"]} == {"train"}
    assert {source.split for source in found["cinc2021"]} == {"test"} and len(found["cinc2021"]) == 50
    splits = [source.split for source in found["ptbxl"]]
    assert (splits.count("test"), splits.count("val"), len(splits)) == (183, 160, 1625)
    told = next(sources.challenge_2011(SHARED / "cinc2011")).recording
    first, second, avl, avf = (told.signal[told.leads.index(lead)] for lead in ("I", "II", "aVL", "aVF"))
    assert np.corrcoef(avl, first - second / 2)[0, 1] > 0.99 and np.corrcoef(avf, second - first / 2)[0, 1] > 0.99
    blocks = [source for source in found["ptbxl"] if source.labels.get("left bundle branch block")]
    assert len(blocks) == 52 and all(source.labels["CD"] for source in blocks)
    spread = found["ptbxl"][0].recording.signal[6:].std(axis=1)
    assert spread == pytest.approx(np.full(6, sources.SCALED_SD_MV), rel=0.01)


def test_nothing_to_learn_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert records.main([str(tmp_path / "out"), "--simulated", "0"]) == 2
    assert "there are no records" in capsys.readouterr().err
    assert records.main([str(tmp_path / "out"), "--real", str(tmp_path / "none")]) == 2
    assert records.main([str(tmp_path / "out"), "--real", str(tmp_path)]) == 2
    assert "has none of the folders ptbxl, ludb" in capsys.readouterr().err
    with pytest.raises(InputError, match="make the set"):
        load(tmp_path, None, SIZES["ecg"], 0, 0)
    for name in ("records.json", "signals.npy", "marks.npy"):
        (tmp_path / name).write_bytes(b"{")
    with pytest.raises(InputError, match="is damaged .*; make it anew"):
        load(tmp_path, None, SIZES["ecg"], 0, 0)
