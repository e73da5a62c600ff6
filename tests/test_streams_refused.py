"""A pipe or a device where a file must be is one sentence, and is not waited for.

No test opens one itself, and one that waits ends after a minute.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from llava_ecg.data.dataset import load_conversations
from llava_ecg.ecg.check import check_ecg, check_image
from llava_ecg.ecg.formats import parts_of, read
from llava_ecg.ecg.images import read_image
from llava_ecg.errors import InputError, refuse_streams

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
PIPE = r"{} is a pipe and no regular file; save what comes out of it as a file and give that"


@pytest.fixture(autouse=True)
def waits_a_minute() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise AssertionError("a pipe was waited for")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def refusal(work: Callable[[Path], object], path: Path) -> str:
    """The sentence."""
    with pytest.raises(InputError) as caught:
        work(path)
    return str(caught.value)


@pytest.mark.parametrize("work", [read, parts_of])
@pytest.mark.parametrize("name", ["a", "a.csv", "a.hea", "a.dat", "a.dcm", "a.mwf", "a.edf", "a.parquet"])
def test_an_ecg(name: str, work: Callable[[Path], object], tmp_path: Path) -> None:
    path = pipe(tmp_path / name)
    assert refusal(work, path) == PIPE.format(path)


def test_an_image(tmp_path: Path) -> None:
    path = pipe(tmp_path / "a.png")
    assert refusal(read_image, path) == PIPE.format(path)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.yaml"])
def test_training_data(name: str, tmp_path: Path) -> None:
    path = pipe(tmp_path / name)
    assert refusal(load_conversations, path) == PIPE.format(path)


def test_training_data_that_a_mixture_names(tmp_path: Path) -> None:
    path = pipe(tmp_path / "a.jsonl")
    (tmp_path / "m.yaml").write_text("sets:\n- path: a.jsonl\n")
    assert PIPE.format(path) in refusal(load_conversations, tmp_path / "m.yaml")


def test_what_validate_says(tmp_path: Path) -> None:
    ecg, image = pipe(tmp_path / "a.csv"), pipe(tmp_path / "a.png")
    assert check_ecg(ecg) == (None, [("unreadable", PIPE.format(ecg))])
    assert check_image(image) == (None, [("unreadable", PIPE.format(image))])


def test_what_lies_beside_an_ecg(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.sin(np.arange(1000) / 9)[None].astype(np.float32))
    pipe(tmp_path / "a.json")
    assert read(tmp_path / "a.npy", rate=500, unit="mV", leads="II").leads == ("II",)
    (tmp_path / "r.hea").write_text("r 1 250 100\nr.dat 16 200/mV 16 0 0 0 0 II\n")
    pipe(tmp_path / "r.dat")
    assert "r.dat holds no samples" in refusal(read, tmp_path / "r.hea")
    (tmp_path / "m.hea").write_text("m/1 1 250 100\ns 100\n")
    pipe(tmp_path / "s.hea")
    assert "whose header s.hea is not beside it" in refusal(read, tmp_path / "m.hea")


def test_a_device_and_what_is_none(tmp_path: Path) -> None:
    assert "is a device and no regular file" in refusal(read, Path(os.devnull))
    for fine in (tmp_path, tmp_path / "absent", Path("a\0b"), Path(__file__)):
        refuse_streams(fine)
