"""Small files that are made to take long are a result or a sentence all the same.

Each test has a limit of processor time, which does not depend on what else runs: what was slow before takes a multiple
of it, and takes a small part of it now.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from llava_ecg.ecg.formats import columns, read, vendor
from llava_ecg.ecg.formats.dialect import Dialect
from llava_ecg.ecg.leads import canonical
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.errors import InputError
from scripts import fuzz_vendor

needs_formats = pytest.mark.skipif(find_spec("ecgdatakit") is None, reason="read by the extra [formats]")
pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGPROF"), reason="needs signals of POSIX")
SECONDS = 10.0
_SIGNALS = 60_000


class TooLong(BaseException):
    """The time is up; no Exception, since readers make a sentence of whatever a library raises."""


def in_time(work: Callable[[], object]) -> bool:
    """Whether it ends, with a result or a sentence."""

    def stop(*_: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        work()
    except TooLong:
        return False
    except InputError as error:
        assert "\n" not in str(error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    return True


def read_in_time(path: Path, content: bytes | str) -> bool:
    """Whether a file of this content is read or refused in time."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return in_time(partial(read, path))


def aecg(extra: str) -> bytes:
    """HL7 aECG of 2 s, with something more in it."""
    made = fuzz_vendor.aecg(simulate(Heart(rate_bpm=72), seed=1, seconds=2.0)[0].select(("I", "II", "V1")))
    return made.replace(b"<component>", extra.encode() + b"<component>", 1)


@needs_formats
@pytest.mark.parametrize(
    "extra",
    [
        "<!-- " + "<increment " * 200_000 + "-->",
        "<!-- <increment " + 'value="1" ' * 200_000 + "> -->",
        '<!-- <increment value="1e-999999999" unit="s"> -->',
        '<!-- <increment value="9e999999999" unit="s"> -->',
    ],
)
def test_increments_of_an_aecg(extra: str, tmp_path: Path) -> None:
    assert read_in_time(tmp_path / "a.xml", aecg(extra))
    assert read(tmp_path / "a.xml").rate == 500


@needs_formats
def test_the_rate_of_an_aecg_is_that_of_its_increment_however_it_is_written(tmp_path: Path) -> None:
    for written in ('<increment value="0.016" unit="s"/>', '<v3:increment unit="ms"  value="16" />'):
        assert list(vendor._of_aecg(f'<!-- <increment value="x" unit="s"> -->{written}'.encode())) == [62.5]


def test_declarations_before_the_first_element() -> None:
    for repeated in ("<!DOCTYPE", "<!DOCTYPE[]", "<!DOCTYPE[" * 50 + "]" * 50):
        head = (repeated * 4096)[:4096].encode()
        assert in_time(partial(list, map(vendor.kind_of, [head] * 10)))
    prolog = '<?xml version="1.0"?><!DOCTYPE RestingECG SYSTEM "a.dtd" [ <!ENTITY b "c"> ]>'
    assert vendor.kind_of(f"{prolog}<RestingECG>".encode()) == "ge_muse_xml"


def test_a_section_of_an_scp_record_that_is_named_very_often(tmp_path: Path) -> None:
    count, content = 200_000, bytearray(2_000_000)
    content[10:14] = (16 + 10 * count).to_bytes(4, "little")
    content[22 : 22 + 10 * count] = (3).to_bytes(2, "little") + (900_000).to_bytes(4, "little") + b"\1\0\0\0" + (
        (3).to_bytes(2, "little") + (900_000).to_bytes(4, "little") + (1_000_001).to_bytes(4, "little")
    ) * (count - 1)  # fmt: skip
    (tmp_path / "a.scp").write_bytes(content)
    assert in_time(lambda: vendor._check_scp(tmp_path / "a.scp"))


def test_many_signals(tmp_path: Path) -> None:
    lines = "".join(f"w.dat 16 200/mV 16 0 0 0 0 L{at}\n" for at in range(_SIGNALS))
    (tmp_path / "w.dat").write_bytes(bytes(6 * _SIGNALS))
    assert read_in_time(tmp_path / "w.hea", f"w {_SIGNALS} 250 3\n{lines}")
    (tmp_path / "w.hea").write_text(f"w {_SIGNALS} 250 3\n{lines}".replace(" L7\n", " L8\n"))
    with pytest.raises(InputError, match="names L8 more than once"):
        read(tmp_path / "w.hea")


def test_segments_that_are_named_again_and_again(tmp_path: Path) -> None:
    def record(count: int, signals: int) -> Path:
        lines = "".join(f"one.dat 16 200/mV 16 0 0 0 0 L{at}\n" for at in range(signals))
        (tmp_path / "one.hea").write_text(f"one {signals} 250 10\n{lines}")
        (tmp_path / "one.dat").write_bytes(bytes(20 * signals))
        (tmp_path / "s.hea").write_text(f"s/{count} {signals} 250 {10 * count}\n" + "one 10\n" * count)
        return tmp_path / "s.hea"

    assert read(record(100, 12)).signal.shape == (12, 1000)
    with pytest.raises(InputError, match="names the segment one and others too often"):
        read(record(100, 200))


@pytest.mark.skipif(find_spec("edfio") is None, reason="read by the extra [formats]")
def test_many_signals_of_edf(tmp_path: Path) -> None:
    count = 9998
    head = "0       " + "X X X X".ljust(80) + "Startdate X X X X".ljust(80) + "01.01.0101.01.01"
    head += str(256 * (count + 1)).ljust(8) + " " * 44 + "1".ljust(8) + "1".ljust(8) + str(count).ljust(4)
    ranges = "".join(word.ljust(8) * count for word in ("-100", "100", "-100", "100"))
    head += "".join(f"L{at}".ljust(16) for at in range(count)) + " " * 80 * count + "uV".ljust(8) * count + ranges
    head += " " * 80 * count + "100".ljust(8) * count + " " * 32 * count
    assert read_in_time(tmp_path / "e.edf", head.encode() + bytes(200 * count))


def test_times_that_are_none(tmp_path: Path) -> None:
    rows = "".join(f"x{at},0.{at % 10}\n" for at in range(200_000))
    assert read_in_time(tmp_path / "c.csv", f"time,II (mV)\n{rows}")


def test_the_form_of_times_is_found_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tried: list[str] = []

    class Counted(datetime):
        @classmethod
        def strptime(cls, text: str, form: str) -> datetime:  # type: ignore[override]
            tried.append(form)
            return datetime.strptime(text, form)

    monkeypatch.setattr(columns, "datetime", Counted)
    form = "%d-%m-%Y %H:%M:%S.%f"
    times = [datetime.fromtimestamp(1.7e9 + at / 100).strftime(form) for at in range(1000)]
    wave = np.sin(np.arange(1000) / 9)
    (tmp_path / "c.csv").write_text(
        "time,II (mV)\n" + "".join(f"{time},{value:.3f}\n" for time, value in zip(times, wave, strict=True))
    )
    assert read(tmp_path / "c.csv").rate == 100
    assert len(tried) < 1000 + 50 and tried[-1] == form


@pytest.mark.parametrize("title", ["(" * 200_000, " " * 200_000 + "x", "_(" * 200_000, "(" * 200_000 + ")" * 200_000])
def test_long_titles(title: str, tmp_path: Path) -> None:
    rows = "".join(f"{at / 100},0.{at % 10}\n" for at in range(100))
    assert read_in_time(tmp_path / "c.csv", f"time,a{title}!\n{rows}")


@pytest.mark.parametrize(
    "line", ["#\n" * 200_000, "# \n" * 200_000, "# sampl" + "_" * 200_000 + "\n", "a" + "\t" * 200_000 + "\n"]
)
def test_long_comments(line: str, tmp_path: Path) -> None:
    rows = "".join(f"0.{at % 10},0.{at % 7}\n" for at in range(100))
    assert read_in_time(tmp_path / "c.csv", line + rows)


def test_what_is_read_of_titles_and_names_is_what_it_was() -> None:
    assert columns._split("time  (s)", None) == ("time", "s")
    assert columns._split("V1 [mV]", None) == ("V1", "mV")
    assert columns._split("time  in  ms", None) == ("time", "ms")
    assert canonical("[({'Lead II'})]") == "II"
    assert Dialect.of("a, 'b'\t'c'", None).quote == "'"


def test_a_meaning_with_many_brackets() -> None:
    from pydicom.dataset import Dataset

    from llava_ecg.ecg.formats.dicom_groups import _lead

    source, channel = Dataset(), Dataset()
    source.CodeMeaning = "(" * 150_000
    channel.ChannelSourceSequence = [source]
    assert in_time(lambda: _lead(channel))
    source.CodeMeaning = "Lead V1 (chest)"
    assert _lead(channel) == "V1"
