"""A file that can't be trained on says of which kind its fault is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llava_ecg.ecg.check import check_ecg, check_image
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.simulate import Heart, simulate


@pytest.fixture(scope="module")
def millivolts() -> np.ndarray:
    return simulate(Heart(rate_bpm=72), seed=3)[0].select().signal


def write(
    folder: Path, name: str, signal: np.ndarray, leads: tuple[str, ...] = STANDARD, gain: str = "1000/mV"
) -> Path:
    (folder / f"{name}.dat").write_bytes(np.round(signal * 1000).astype("<i2").T.tobytes())
    lines = [
        f"{name} {len(leads)} 500 {signal.shape[1]}",
        *(f"{name}.dat 16 {gain} 16 0 0 0 0 {lead}" for lead in leads),
    ]
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")
    return folder / f"{name}.hea"


def kinds(path: Path) -> list[str]:
    source, found = check_ecg(path)
    assert all(path.stem in text for _, text in found)
    assert (source is None) == any(kind in ("missing", "unreadable", "unit") for kind, _ in found)
    return [kind for kind, _ in found]


def test_an_ecg(tmp_path: Path, millivolts: np.ndarray) -> None:
    assert kinds(write(tmp_path, "whole", millivolts)) == []
    assert kinds(tmp_path / "whole") == [], "by its stem"
    assert kinds(tmp_path / "none.hea") == ["missing"]
    limbs = [STANDARD.index(name) for name in ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")]
    eight = tuple(STANDARD[row] for row in limbs)
    assert kinds(write(tmp_path, "eight", millivolts[limbs], eight)) == [], "I and II imply the other four"
    assert kinds(write(tmp_path, "seven", millivolts[limbs[:-1]], eight[:-1])) == ["leads"]
    gap = np.where(np.arange(12)[:, None] == 7, -32.768, millivolts)
    [(kind, text)] = check_ecg(write(tmp_path, "gap", gap))[1]
    assert kind == "leads" and text.endswith("holds no recorded sample of V2")
    assert kinds(write(tmp_path, "steps", millivolts, gain="1/mV")) == ["unit"]
    (tmp_path / "seven.dat").write_bytes(b"short")
    assert kinds(tmp_path / "seven.hea") == ["unreadable"]


def test_an_image(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    source, found = check_image(tmp_path / "a.png")
    assert source is not None and source.size == (64, 64) and found == []
    assert [kind for kind, _ in check_image(tmp_path / "b.png")[1]] == ["missing"]
    (tmp_path / "c.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    source, found = check_image(tmp_path / "c.png")
    assert source is None and [kind for kind, _ in found] == ["unreadable"]
