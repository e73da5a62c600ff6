"""MFER: a part is read without the rest, where the file is laid out evenly, and is that of the whole in any case."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llava_ecg.ecg.formats import mfer, parts_of, read, vendor
from llava_ecg.ecg.formats.mfer_definitions import definitions, rate_of, rates
from llava_ecg.ecg.formats.mfer_work import MOST_CHANNELS
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.errors import InputError

pytest.importorskip("ecgdatakit", reason="MFER is read by the extra [formats]")

RATE = 250
LEADS = ("II", "V1", "V5")
CODES = (2, 3, 7)


def tag(number: int, value: bytes) -> bytes:
    size = bytes([len(value)]) if len(value) < 128 else b"\x84" + len(value).to_bytes(4, "big")
    return bytes([number]) + size + value


def steps(seconds: float) -> np.ndarray:
    """int16 [3, T], in steps of 5 uV."""
    made = simulate(Heart(rate_bpm=72), seed=1, seconds=seconds)[0].select(LEADS).resample(RATE)
    return np.rint(made.signal / 5e-3).astype(np.int16)


def write(
    path: Path, values: np.ndarray, block: int, frames: int = 1, little: bool = True, between: Sequence[bytes] = (),
    attributes: bytes = b"",
) -> Path:  # fmt: skip
    """Channels in blocks of ``block`` samples, in ``frames`` frames of equal length.

    Args:
        values: int16 [C, T].
        between: what stands before each frame but the first.
        attributes: what else is said of channel 0.
    """
    order: Any = "little" if little else "big"
    told = [
        tag(0x40, b"MFR  Long-term ECG\0"),
        tag(0x01, bytes([little])),
        tag(0x08, b"\x02"),
        tag(0x0B, b"\x00\x00" + RATE.to_bytes(2, order)),
        tag(0x0C, b"\x00\xfa" + (5).to_bytes(2, order)),
        tag(0x04, block.to_bytes(4, order)),
        tag(0x05, len(values).to_bytes(2, order)),
        tag(0x85, (2025).to_bytes(2, order) + bytes([12, 24, 22, 30, 5, 0, 0, 0, 0])),
        *(
            bytes([0x3F, channel, 4 + len(attributes if channel == 0 else b"")])
            + tag(0x09, code.to_bytes(2, order))
            + (attributes if channel == 0 else b"")
            for channel, code in enumerate(CODES[: len(values)])
        ),
    ]
    for number, part in enumerate(np.split(values, frames, axis=1)):
        sequences = part.shape[1] // block
        if number:
            told += between
        told.append(tag(0x06, sequences.to_bytes(2, order)))
        laid = part.reshape(len(values), sequences, block).transpose(1, 0, 2)
        told.append(tag(0x1E, laid.astype("<i2" if little else ">i2").tobytes()))
    path.write_bytes(b"".join([*told, b"\x80\x00"]))
    return path


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The length of every file that the library is given."""
    found: list[int] = []
    parse = vendor._parsed

    def counted(path: Path, kind: str) -> Any:
        found.append(path.stat().st_size)
        return parse(path, kind)

    monkeypatch.setattr(vendor, "_parsed", counted)
    return found


LAYOUTS = [(1, 1, True), (1, 3, False), (RATE, 1, False), (RATE, 5, True), (60 * RATE, 1, True), (5 * RATE, 12, False)]


@pytest.mark.parametrize(("block", "frames", "little"), LAYOUTS)
@pytest.mark.parametrize("at_once", [mfer._AT_ONCE, 8])
def test_a_part_is_that_of_the_whole_and_read_without_the_rest(
    block: int, frames: int, little: bool, at_once: int, tmp_path: Path, sizes: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(mfer, "_AT_ONCE", at_once)
    values = steps(60)
    path = write(tmp_path / "a.mwf", values, block, frames, little)
    whole = read(path)
    assert (whole.format, whole.rate, whole.leads) == ("MFER", RATE, LEADS)
    np.testing.assert_allclose(whole.signal, values * 5e-3, atol=1e-6)
    assert whole.start == datetime(2025, 12, 24, 22, 30, 5)
    del sizes[:]
    seconds, part = parts_of(path)
    assert seconds == 60.0
    for begin, length in ((0, 2), (20.3, 4.0), (58, 9)):
        found = part(begin, length)
        np.testing.assert_array_equal(found.signal, whole.window(begin, length).signal)
        assert found.start == whole.start + timedelta(seconds=begin)
        assert (found.rate, found.leads) == (whole.rate, whole.leads)
    assert max(sizes) < 4 * RATE * 3 * 2 + 300
    with pytest.raises(InputError, match=r"a\.mwf is 60\.0 s long, so nothing is there from 60 s on"):
        read(path, start=60)


@pytest.mark.parametrize(
    ("between", "attributes"),
    [
        ((tag(0x07, (9 * RATE).to_bytes(4, "little")),), b""),  # the second frame begins elsewhere
        ((tag(0x0C, b"\x00\xfa" + (5).to_bytes(2, "little")),), b""),  # the size of a step, again
        ((), tag(0x0A, b"\x00")),  # the type of a channel's samples
    ],
)
def test_what_is_not_laid_out_evenly_is_read_whole(
    between: Sequence[bytes], attributes: bytes, tmp_path: Path, sizes: list[int]
) -> None:
    path = write(tmp_path / "a.mwf", steps(20), RATE, 2, True, between, attributes)
    whole = read(path)
    found = read(path, start=3, seconds=4)
    np.testing.assert_array_equal(found.signal, whole.window(3, 4).signal)
    assert sizes == 2 * [path.stat().st_size]
    assert whole.start is not None and found.start == whole.start + timedelta(seconds=3)


def test_frames_may_tell_where_they_begin_and_what_happened(tmp_path: Path, sizes: list[int]) -> None:
    pointer = tag(0x07, (10 * RATE).to_bytes(4, "little"))
    path = write(tmp_path / "a.mwf", steps(20), RATE, 2, True, (pointer, tag(0x16, b"dizzy")))
    np.testing.assert_array_equal(read(path, start=8, seconds=4).signal, read(path).window(8, 4).signal)
    assert sizes[0] < sizes[1] / 4


def test_an_interval_of_more_bytes_than_the_standard_has_is_no_rate() -> None:
    assert rate_of(b"\0\0" + b"\x7f" * 200, "big") is None
    assert rate_of(b"\0\xff\x02\x71", "big") == 62.5


@pytest.mark.parametrize("before", [b"\0", b"\x3f\x00\x03\x09\x01\x02", tag(0x16, b"note")])
def test_the_rate_is_found_behind_whatever_is_defined_before_it(before: bytes) -> None:
    assert list(rates(tag(0x01, b"\0") + before + tag(0x0B, b"\0\xff\x02\x71") + tag(0x1E, b"\0\0"))) == [62.5]


def plain(channels: int, *more: bytes) -> bytes:
    """A file of int8 samples at 250 Hz, with these definitions behind the usual ones."""
    told = (
        tag(0x40, b"MFR  x\0"),
        tag(0x0B, b"\0\0" + RATE.to_bytes(2, "big")),
        tag(0x0C, b"\x00\xfa\0\5"),
        tag(0x0A, b"\5"),
        tag(0x05, channels.to_bytes(4, "big")),
    )
    return b"".join((*told, *more, b"\x80\0"))


def test_a_long_recording_is_looked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def counted(file: IO[bytes], size: int) -> Any:
        looks.append(size)
        return definitions(file, size)

    monkeypatch.setattr(mfer, "definitions", counted)
    path = write(tmp_path / "a.mwf", steps(20), RATE, 4)
    _, part = parts_of(path)
    found = [part(at, 2).signal for at in range(0, 20, 2)]
    np.testing.assert_array_equal(np.concatenate(found, axis=1), read(path).signal)
    assert len(looks) == 1
    write(path, steps(10), RATE, 2)
    assert parts_of(path)[0] == 10.0, "another file of the same name is another one"


def test_the_type_of_samples_is_the_first_byte_of_its_definition(tmp_path: Path) -> None:
    values = steps(4)[0].astype(">i2").tobytes()
    (tmp_path / "a.mwf").write_bytes(plain(1, tag(0x0A, b"\0\2"), tag(0x1E, values)))
    whole, (seconds, part) = read(tmp_path / "a.mwf"), parts_of(tmp_path / "a.mwf")
    assert whole.duration == seconds == 4.0
    np.testing.assert_array_equal(part(1, 2).signal, whole.window(1, 2).signal)


SAMPLES = tag(0x1E, bytes(range(100)) * 10)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (plain(MOST_CHANNELS + 1, tag(0x1E, bytes(8 * MOST_CHANNELS))), "promises 1,025 channels, where at most 1,024"),
        (plain(1, tag(0x67, tag(0x05, b"\0\xff\0\0")), tag(0x1E, bytes(1 << 20))), "promises 16,711,680 channels"),
        (plain(1, tag(0x16, b"") * 600_000, SAMPLES), "has more definitions and frames than 1,201,"),
        (plain(1, tag(0x42, b"") * 150_000, SAMPLES), "has more definitions and frames"),
        (plain(1, b"\x3f\5\0" * 60_000, SAMPLES), "has more definitions and frames"),
        (plain(1, tag(0x1E, b"\1") * 14_000), "has more definitions and frames"),
        (plain(1, b"\x67\x80" * 9 + b"\0\0" * 9, SAMPLES), "has definitions in definitions, more than 8 deep"),
    ],
)
def test_what_would_keep_the_library_busy_is_refused_before_it_begins(
    content: bytes, said: str, tmp_path: Path, sizes: list[int]
) -> None:
    (tmp_path / "a.mwf").write_bytes(content)
    with pytest.raises(InputError, match=said):
        read(tmp_path / "a.mwf")
    assert sizes == []


@pytest.mark.parametrize(
    "content",
    [
        plain(1, bytes(1 << 20), SAMPLES),
        plain(1, tag(0x16, b"") * 10_000, SAMPLES, bytes(1 << 20)),
        plain(1, b"\x67\x80" + tag(0x16, b"a") + b"\0\0", SAMPLES),
        plain(2, b"\x3f\0\4" + tag(0x09, b"\0\1"), SAMPLES),
        plain(MOST_CHANNELS, tag(0x1E, bytes(range(1, 5)) * MOST_CHANNELS)),
    ],
)
def test_what_is_unusual_is_read(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.mwf").write_bytes(content)
    whole = read(tmp_path / "a.mwf")
    np.testing.assert_array_equal(read(tmp_path / "a.mwf", start=0, seconds=1).signal, whole.window(0, 1).signal)


class Counted(BytesIO):
    """Bytes that tell how often, and how many of them, were asked for."""

    calls = taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        self.calls, self.taken = self.calls + 1, self.taken + len(found)
        return found


def test_zeros_are_passed_over_in_a_few_steps() -> None:
    for content in (bytes(4 << 20) + tag(0x16, b"a"), tag(0x16, b"a") + bytes(4 << 20)):
        file = Counted(content)
        assert [length for *_, length in definitions(file, len(content))] == [1]
        assert file.calls < 200 and file.taken < 2 * len(content)
    content = (b"\0" + tag(0x16, b"a")) * 1000
    file = Counted(content)
    assert len(list(definitions(file, len(content)))) == 1000
    assert file.taken < 20 * len(content), "and few bytes more than once"


CONTENT: list[bytes] = []


@settings(max_examples=300, deadline=None)
@given(places=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_file_gives_a_part_of_its_whole_or_a_sentence(
    places: list[tuple[int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.mwf"
    if not CONTENT:
        CONTENT.append(write(path, steps(4), 10, 2).read_bytes())
    content = bytearray(CONTENT[0])
    for place, byte in places:
        content[place] = byte
    path.write_bytes(content)
    told: list[Any] = []
    for wanted in ({}, {"start": 0.5, "seconds": 1.0}):
        try:
            told.append(read(path, **wanted))
        except InputError as error:
            assert "\n" not in str(error)
            told.append(None)
    if None not in told and told[0].rate == told[1].rate:
        np.testing.assert_array_equal(told[1].signal, told[0].window(0.5, 1.0).signal)
