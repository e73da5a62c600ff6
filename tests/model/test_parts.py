"""The ECG tower's preparation, projectors, and the tables of weight names."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from llava_ecg.checkpoint.keymaps import from_ours, to_ours
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError
from llava_ecg.model.projectors import build_projector
from llava_ecg.model.towers.ecg_coca import EcgCoCaTower
from llava_ecg.model.towers.tower import build_tower

TOWER = EcgCoCaTower(layers=1, width=16, head_width=8, embed_dim=8)


def recording(seconds: float = 10.0, rate: float = 500.0) -> Recording:
    signal = np.random.default_rng(0).normal(size=(12, round(seconds * rate))).astype(np.float32)
    return Recording(signal, rate, STANDARD)


def test_standard_order_whatever_the_file_has() -> None:
    whole = recording()
    shuffled = Recording(whole.signal[::-1].copy(), 500.0, STANDARD[::-1])
    ours = TOWER.preparer()
    assert torch.equal(ours.prepare(shuffled).values, ours.prepare(whole).values)
    filed = TOWER.preparer(leads="as_filed", rate=None)
    assert torch.equal(filed.prepare(shuffled).values[0], torch.from_numpy(shuffled.signal))


def test_limb_leads_are_derived() -> None:
    eight = recording()
    rows = [STANDARD.index(name) for name in ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")]
    small = Recording(eight.signal[rows], 500.0, tuple(STANDARD[row] for row in rows))
    values = TOWER.preparer().prepare(small).values[0]
    torch.testing.assert_close(values[2], torch.from_numpy(eight.signal[1] - eight.signal[0]))
    filed = TOWER.preparer(leads="as_filed").prepare(small)
    assert torch.equal(filed.values[0], values) and "8 leads are filed" in filed.notes[0]
    with pytest.raises(InputError, match="7 leads and the model's ECG tower takes 12"):
        TOWER.preparer(leads="as_filed").prepare(small.select(small.leads[1:]))


def test_of_more_than_twelve_leads_a_gem_sees_the_twelve() -> None:
    twelve = recording()
    more = Recording(np.concatenate([twelve.signal[:3] * 2, twelve.signal]), 500.0, ("V7", "V8", "V9", *STANDARD))
    filed = TOWER.preparer(leads="as_filed").prepare(more)
    assert torch.equal(filed.values[0], torch.from_numpy(twelve.signal)) and "15 leads are filed" in filed.notes[0]


def test_rate_length_and_what_is_not_a_number() -> None:
    long = recording(14.0, 250.0)
    prepared = TOWER.preparer().prepare(long)
    assert prepared.values.shape == (1, 12, 5000)
    assert prepared.notes == ("the model was given the first 10 s of 14.0 s",)
    assert prepared.index.tolist() == list(range(101))
    short = recording(4.0)
    short.signal[0, :3] = (np.nan, np.inf, -np.inf)
    values = TOWER.preparer().prepare(short).values
    assert values[0, 0, :3].tolist() == [0, 0, 0]
    assert torch.equal(values[0, :, 2000:], torch.zeros(12, 3000))
    as_filed = TOWER.preparer(leads="as_filed", rate=None).prepare(replace(long, rate=1000.0))
    assert torch.equal(as_filed.values[0, :, :3500], torch.from_numpy(long.signal))


def test_a_preparer_travels_to_a_data_worker() -> None:
    preparer = TOWER.preparer(rate=None)
    again = pickle.loads(pickle.dumps(preparer))
    assert torch.equal(again.prepare(recording()).values, preparer.prepare(recording()).values)


def test_the_released_encoder_has_the_released_names() -> None:
    with torch.device("meta"):
        tower = build_tower("ecg_coca", {})
    shapes = {name: tuple(value.shape) for name, value in tower.state_dict().items()}
    assert shapes["conv1.weight"] == (768, 12, 50)
    assert shapes["positional_embedding"] == (101, 768)
    assert shapes["proj"] == (768, 512)
    assert shapes["transformer.resblocks.11.mlp.c_fc.weight"] == (3072, 768)
    assert shapes["transformer.resblocks.0.attn.in_proj_weight"] == (2304, 768)
    assert len(shapes) == 7 + 12 * 12 + 1
    with pytest.raises(InputError, match="does not divide"):
        EcgCoCaTower(width=100)


@pytest.mark.parametrize(("kind", "linears"), [("linear", 1), ("mlp1x_gelu", 1), ("mlp2x_gelu", 2), ("mlp3x_gelu", 3)])
def test_projectors(kind: str, linears: int) -> None:
    projector = build_projector(kind, 6, 10)
    assert projector(torch.zeros(2, 5, 6)).shape == (2, 5, 10)
    assert sum(isinstance(part, nn.Linear) for part in projector.modules()) == linears


def test_projectors_that_are_none() -> None:
    assert isinstance(build_projector("identity", 6, 6), nn.Identity)
    with pytest.raises(InputError, match="6 to 10"):
        build_projector("identity", 6, 10)
    with pytest.raises(InputError, match="unknown projector 'linaer'; did you mean linear"):
        build_projector("linaer", 6, 10)


@pytest.mark.parametrize(
    "theirs",
    [
        "model.ecg_tower.ecg_tower.conv1.weight",
        "model.vision_tower.vision_tower.vision_model.embeddings.class_embedding",
        "model.ecg_projector.bias",
        "model.mm_projector.2.weight",
        "model.image_newline",
        "model.layers.3.mlp.up_proj.weight",
        "lm_head.weight",
    ],
)
def test_names_go_both_ways(theirs: str) -> None:
    ours: dict[str, Any] = to_ours([theirs])
    assert from_ours(ours.values()) == {ours[theirs]: theirs}
    assert to_ours(["optimizer.state"]) == {}
