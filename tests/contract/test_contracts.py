"""Every part that is registered, through the contract of its socket. A part that is added to `llava_ecg.plugins` is
tested here without a line more; so is what happens to be installed beside us."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llava_ecg.ecg.formats import read
from llava_ecg.ecg.formats.write import WRITERS
from llava_ecg.ecg.simulate import simulate
from llava_ecg.plugins import SOCKETS, datasets, guides, projectors, readers, tasks, templates, towers
from tests.contract import contracts

CONTRACTS = {
    "readers": contracts.reader,
    "towers": contracts.tower,
    "projectors": contracts.projector,
    "templates": contracts.template,
    "datasets": contracts.dataset,
    "guides": contracts.guide,
    "tasks": contracts.task,
}


def test_every_socket_has_a_contract() -> None:
    assert set(CONTRACTS) == set(SOCKETS)


@pytest.mark.parametrize("name", list(readers))
def test_reader(name: str, tmp_path: Path) -> None:
    contracts.reader(name, tmp_path)


@pytest.mark.parametrize("name", list(towers))
def test_tower(name: str, tmp_path: Path) -> None:
    contracts.tower(name, tmp_path)


@pytest.mark.parametrize("name", list(projectors))
def test_projector(name: str) -> None:
    contracts.projector(name)


@pytest.mark.parametrize("name", list(templates))
def test_template(name: str) -> None:
    contracts.template(name)


@pytest.mark.parametrize("name", list(datasets))
def test_dataset(name: str) -> None:
    contracts.dataset(name)


@pytest.mark.parametrize("name", list(guides))
def test_guide(name: str) -> None:
    contracts.guide(name)


@pytest.mark.parametrize("name", list(tasks))
def test_task(name: str, tmp_path: Path) -> None:
    contracts.task(name, tmp_path)


@pytest.mark.parametrize("suffix", sorted(WRITERS))
def test_writer(suffix: str, tmp_path: Path) -> None:
    """What is written is read again as it was, but for the rounding of its format."""
    recording = simulate(seed=5, rate=250, seconds=4)[0]
    for path, content in WRITERS[suffix](recording, tmp_path / f"a{suffix}").items():
        path.write_bytes(content)
    again = read(tmp_path / f"a{suffix}")
    assert (again.rate, set(again.leads)) == (recording.rate, set(recording.leads))
    for lead in recording.leads:
        assert np.abs(again.lead(lead) - recording.lead(lead)).max() < 0.005, lead
