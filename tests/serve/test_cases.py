"""What comes with a conversation: WFDB in two parts or a zip, archives that are hostile, and what belongs together."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from llava_ecg.case import Case
from llava_ecg.ecg.formats.write import written
from llava_ecg.ecg.recording import Recording
from llava_ecg.files import read_recording
from llava_ecg.serve.cases import case_of
from llava_ecg.serve.data_urls import Attachment
from llava_ecg.serve.limits import Limits, Refused
from llava_ecg.serve.wire import Said
from tests.serve.running import packed


@pytest.fixture(scope="module")
def wfdb(recordings: list[Recording]) -> dict[str, bytes]:
    """The two files of a record."""
    return {path.name: content for path, content in written(recordings[0], Path("rec.hea")).items()}


@pytest.fixture(autouse=True)
def nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Whatever happens, no file of a request is left behind."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert list(tmp_path.iterdir()) == []


def file(name: str, content: bytes, **reading: Any) -> Attachment:
    return Attachment(name, content, reading, "here")


def picture(shade: int = 255) -> Attachment:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 40), (shade, shade, shade)).save(buffer, "PNG")
    return Attachment("", buffer.getvalue(), {}, "here")


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def case(*attached: Attachment, limits: Limits = Limits()) -> Case:  # noqa: B008 (frozen)
    return case_of([Said("user", "Rate?", attached)], limits)


def refused(*attached: Attachment, limits: Limits = Limits()) -> str:  # noqa: B008 (frozen)
    with pytest.raises(Refused) as found:
        case(*attached, limits=limits)
    assert found.value.status == 400 and "/" not in found.value.message, found.value.message
    return found.value.message


def same(found: Recording | None, wanted: Recording) -> bool:
    return found is not None and found.leads == wanted.leads and bool((found.signal == wanted.signal).all())


def test_wfdb_in_two_parts_or_a_zip(wfdb: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("read")
    for name, content in wfdb.items():
        (place / name).write_bytes(content)
    wanted = read_recording(place / "rec.hea")
    parts = [file(name, content) for name, content in wfdb.items()]
    for attached in (parts, parts[::-1]):
        found = case(*attached)
        assert same(found.recording, wanted) and found.more == ()
    inside = {f"study/{name}": content for name, content in wfdb.items()}
    found = case(file("a.ZIP", zipped(inside | {"__MACOSX/._rec.hea": b"x", ".hidden": b"y"})))
    assert same(found.recording, wanted) and found.recording is not None and found.recording.source == "rec.hea"
    assert "rec.dat" in refused(parts[[part.name for part in parts].index("rec.hea")]), "a header without its signal"


def test_several_and_what_belongs_together(wfdb: dict[str, bytes], recordings: list[Recording]) -> None:
    one, two = (file(f"{n}.npz", packed(recordings[n])) for n in (0, 1))
    found = case(one, two, picture(1))
    assert same(found.recording, recordings[0]) and found.image is not None
    assert [same(each.recording, recordings[1]) and each.image is None for each in found.more] == [True]
    turns = [Said("user", "a", (one, picture())), Said("assistant", "b"), Said("user", "c", (two,))]
    found = case_of(turns, Limits())
    assert found.image is not None and [each.image for each in found.more] == [None], "each turn's go together"
    turns = [Said("user", "a", (one,)), Said("assistant", "b"), Said("user", "c", (one,))]
    assert case_of(turns, Limits()).more == (), "bit by bit the same is shown once"
    turns[2] = Said("user", "c", (file("0.npz", packed(recordings[0]), seconds=5),))
    assert len(case_of(turns, Limits()).more) == 1, "a part of it is another one"
    both = case(file("a.zip", zipped(wfdb | {"b.npz": packed(recordings[1])})))
    assert len(both.more) == 1
    alone = case(picture())
    assert alone.recording is None and alone.image is not None
    assert "same name" in refused(one, one)
    assert "nothing to ask about" in refused()


def test_a_sidecar_says_what_an_array_does_not(recordings: list[Recording]) -> None:
    import json

    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, recordings[0].signal)
    beside = json.dumps({"rate": 500, "unit": "mV", "leads": list(recordings[0].leads)}).encode()
    found = case(file("a.npy", buffer.getvalue()), file("a.json", beside))
    assert same(found.recording, recordings[0])
    assert '"rate": 500' in refused(file("a.npy", buffer.getvalue()))


def test_missing_leads_and_parts(recordings: list[Recording]) -> None:
    short = Recording(recordings[0].signal[:6], 500.0, recordings[0].leads[:6])
    assert '"missing_leads": zero' in refused(file("a.npz", packed(short)))
    found = case(file("a.npz", packed(short), missing_leads="zero")).recording
    assert found is not None and len(found.leads) == 12
    part = case(file("a.npz", packed(recordings[0]), start=2, seconds=5)).recording
    assert part is not None and part.duration == 5
    assert "refuse or zero" in refused(file("a.npz", packed(short), missing_leads="what"))
    assert "#7 behind it means nothing" in refused(file("a.npz", packed(recordings[0]), record="7"))


def test_hostile_archives(wfdb: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no zip" in refused(file("a.zip", b"PK\x03\x04none"))
    assert "holds no ECG" in refused(file("a.zip", zipped({".hidden": b""})))
    assert "more than 64 files" in refused(file("a.zip", zipped({f"{n}.npy": b"" for n in range(65)})))
    large = zipped({"a.npy": b"\0" * 3_000_000})
    assert len(large) < 10_000 and "2 MiB" in refused(file("a.zip", large), limits=Limits(unpacked=2 << 20))
    assert "a name twice" in refused(file("a.zip", zipped({"a/b.npy": b"", "c/b.npy": b""})))
    outside = zipped({f"../../{name}": content for name, content in wfdb.items()})
    assert case(file("a.zip", outside)).recording is not None, "laid in a folder of its own all the same"
    lying = bytearray(zipped({"a.npy": b"\0" * 100_000}))
    at = lying.rindex(b"PK\x01\x02") + 24
    lying[at : at + 4] = (10).to_bytes(4, "little")
    assert "no zip" in refused(file("a.zip", bytes(lying))), "it holds more than it promises"
    broken = bytearray(zipped(wfdb))
    broken[60:90] = b"\xff" * 30
    assert "no zip" in refused(file("a.zip", bytes(broken)))
