"""DICOM ECG waveforms (12-Lead, General and Ambulatory ECG Waveform Storage). The one door to pydicom.

Of a part of a long file no more is read than the part and what describes it: `_shallow`.
"""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from llava_ecg.ecg.formats.dicom_annotations import annotated
from llava_ecg.ecg.formats.dicom_groups import (
    begin_s,
    choose,
    chosen_of,
    group_of,
    is_original,
    put_together,
    seconds_of,
)
from llava_ecg.ecg.formats.dicom_pieces import Shallow, Stretch
from llava_ecg.ecg.formats.reader import (
    HEAD_BYTES,
    HIGHEST_RATE,
    LOWEST_RATE,
    Options,
    assemble,
    looks_like,
    most_numbers,
    one_line,
    plain_rate,
)
from llava_ecg.ecg.formats.windows import begun, span_of
from llava_ecg.ecg.person import person
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError

_FIRST_VRS = (b"CS", b"DA", b"LO", b"OB", b"SH", b"TM", b"UI", b"UL")  # of what groups 0002 and 0008 begin with
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_EMPTY = bytes(128)  # a preamble without the mark behind it
_SHORT_BYTES = 1 << 22  # a file that is read at once for a part of it too
_WAVEFORMS, _SAMPLES = 0x54000100, 0x54001010  # tags


class Dicom:
    """The reader of DICOM waveforms."""

    suffixes = (".dcm", ".dicom")
    parts = True

    def recognises(self, head: bytes, path: Path) -> bool:
        """The mark ``DICM`` after 128 bytes; or, in a file without this preamble, a first element of group 0002 or
        0008."""
        return head[128:132] == b"DICM" or _starts_bare(head.removeprefix(_EMPTY))

    def read(self, path: Path, options: Options) -> Recording:
        """The recorded waveforms that belong together (see `chosen_of`), else the longest with the most standard leads;
        or the part of them that is asked for.

        Raises:
            InputError: no DICOM file, no waveform in it, a cut or inconsistent one, or one that ends before.
        """
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        if not self.recognises(head, path):
            raise InputError(f"{path} is not a DICOM file but {looks_like(head)}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom warns about values outside the standard that don't matter here
            try:
                part = None if options.whole else _read_part(path, options)
                return _read(path, options, *_dataset(path)) if part is None else part
            except InputError:
                raise
            except (
                Exception
            ) as error:  # pydicom raises whatever the bytes provoke: AttributeError, EOFError, struct.error, ...
                raise InputError(f"{path} can't be read as a DICOM waveform: {one_line(error)}") from error

    def seconds(self, path: Path) -> float | None:
        """How long a recording is; None where it is short, in several waveforms, or in a file that is read whole."""
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")
            try:
                found = _shallow(file)
                chosen = [] if found is None else chosen_of(found[0].WaveformSequence)
                if found is None or len(chosen) > 1:
                    return None
                group = group_of(path, found[0].WaveformSequence[chosen[0]], found[1])
            except Exception:  # reading says what is wrong
                return None
        rate = plain_rate(group.rate)
        return group.samples.count / rate if LOWEST_RATE <= rate <= HIGHEST_RATE else None


def _starts_bare(head: bytes) -> bool:
    """Whether the bytes begin with a data element as data sets do: group 0002 or 0008, then a VR or a short even
    length."""
    if head.startswith(b"DICM"):
        head = head[4:]
    if len(head) < 12:
        return False
    for order in ("<", ">"):
        group, element = struct.unpack(f"{order}HH", head[:4])
        if group in (0x0002, 0x0008) and element <= 0x0070:
            (length,) = struct.unpack(f"{order}L", head[4:8])
            # implicit VR has the length in place of the VR; as text, it would be two control characters
            return head[4:6] in _FIRST_VRS or (
                group == 0x0008 and length % 2 == 0 and length <= 256 and len(head) > 8 + length
            )
    return False


def _dataset(path: Path) -> tuple[Any, bool]:
    """(data set, whether its numbers are little endian)."""
    import pydicom  # a third of a second to import

    content = path.read_bytes()
    content = content[_before(content[:132]) :]
    _check_deflated(path, content)
    found = pydicom.dcmread(BytesIO(content), force=True)  # without force it wants the preamble
    return found, found.original_encoding[1] is not False


def _before(head: bytes) -> int:
    """How many bytes to skip for pydicom, which knows no data set behind half of what belongs before it."""
    return 0 if head[128:132] == b"DICM" else len(head) - len(head.removeprefix(_EMPTY).removeprefix(b"DICM"))


def _shallow(file: IO[bytes]) -> tuple[Any, bool] | None:
    """As `_dataset`, but long waveforms stay in the file, each as a `Stretch`; None for a file that is read whole, as
    it is short or has other long values than these.

    Raises:
        Exception: of any kind, where reading it whole will say what is wrong, or do better.
    """
    import pydicom
    from pydicom.filereader import read_sequence

    size = file.seek(0, 2)
    if size < _SHORT_BYTES:
        return None
    given: list[Stretch] = []
    outside: Any = Shallow(Stretch(file, _before(Stretch(file, 0, size)[:132]), size), given)
    found = pydicom.dcmread(outside, force=True)
    raw: Any = found.get_item(_WAVEFORMS)
    known = set()  # by identity
    if isinstance(raw.value, Stretch):  # of defined length, so that it was one value
        if raw.VR not in (None, "SQ"):
            return None
        encoding: Any = found.original_character_set or "iso8859"
        encodings = [encoding] if isinstance(encoding, str) else encoding
        inside: Any = Shallow(raw.value, given)
        groups = read_sequence(inside, raw.is_implicit_VR, raw.is_little_endian, len(raw.value), encodings)
        known.add(id(raw.value))
        found.add(pydicom.DataElement(_WAVEFORMS, "SQ", groups))
    for group in found.WaveformSequence:
        samples: Any = group.get_item(_SAMPLES)
        known.add(id(samples.value))
    return (found, found.original_encoding[1] is not False) if known.issuperset(map(id, given)) else None


def _check_deflated(path: Path, content: bytes) -> None:
    """A compressed data set may be of any length once pydicom has unpacked it.

    Raises:
        InputError: of more than a file of this size holds.
    """
    if _DEFLATED not in content:
        return
    from pydicom.filereader import read_dataset

    file = BytesIO(content)
    file.seek(132 if content[128:132] == b"DICM" else 0)
    meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    if str(meta.get("TransferSyntaxUID", "")).encode() != _DEFLATED:
        return
    most = 8 * most_numbers(len(content))
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    inflate.decompress(content[file.tell() :], most)
    if inflate.unconsumed_tail:
        raise InputError(f"{path} is compressed and unpacks to more than {most:,} bytes; it is damaged, or no ECG")


def _read_part(path: Path, options: Options) -> Recording | None:
    """The part that is asked for, of which little more is held; None for a file that is read whole.

    Raises:
        InputError: the recording ends before, or is damaged.
    """
    with path.open("rb") as file:
        try:
            found = _shallow(file)
            return None if found is None else _read(path, options, *found)
        except InputError:
            raise
        except Exception:  # reading it whole says what is wrong
            return None


def _read(path: Path, options: Options, file: Any, little_endian: bool) -> Recording:
    if not file.get("WaveformSequence"):
        raise InputError(
            f"{path} is a DICOM file without a waveform ({file.get('Modality') or 'no modality'}); export the ECG "
            "as a waveform"
        )
    sequence = list(file.WaveformSequence)
    chosen = chosen_of(sequence)

    def span(rate: float, count: int) -> tuple[int, int]:
        rate = plain_rate(options.rate or rate)
        if options.whole or not LOWEST_RATE <= rate <= HIGHEST_RATE:  # which is then said
            return 0, count
        return span_of(path, options, rate, count)

    put = put_together([group_of(path, sequence[index], little_endian) for index in chosen], span)
    if len(chosen) > 1 and options.leads is not None and len(options.leads) != len(put.leads):
        chosen = [choose(sequence)]  # the names given are those of one group's channels
        put = put_together([group_of(path, sequence[chosen[0]], little_endian)], span)
    others = [index for index, other in enumerate(sequence) if index not in chosen and is_original(other)]
    notes = [f"{len(others)} more recorded waveform{'s'[: len(others) > 1]} of the file left out"] if others else []
    if len({begin_s(sequence[index]) for index in chosen}) > 1:
        notes.insert(0, f"the leads were recorded in turn, in {len(chosen)} waveforms of the file")
    elif len({round(seconds_of(sequence[index]), 1) for index in chosen}) > 1:
        notes.insert(0, f"the leads were recorded for different times, in {len(chosen)} waveforms of the file")
    start = _start(file)
    recording = assemble(
        path,
        put.values,
        options,
        rate=put.rate,
        units=put.units,
        leads=put.leads,
        start=None if start is None else start + timedelta(seconds=put.begin_s),
        metadata=_metadata(file) | annotated(file, {index + 1 for index in others}),
        notes=notes,
    )
    return begun(recording, options)


def _start(file: Any) -> datetime | None:
    told = re.match(r"(\d{14})(?:\.(\d{1,6}))?", str(file.get("AcquisitionDateTime", "")))
    try:
        return datetime.strptime(f"{told[1]}.{told[2] or 0}", "%Y%m%d%H%M%S.%f") if told else None
    except ValueError:
        return None


def _metadata(file: Any) -> dict[str, Any]:
    """Age in years, sex and device; nothing that says who the patient is."""
    found = person({"age": str(file.get("PatientAge", "")), "sex": str(file.get("PatientSex", ""))})
    device = " ".join(str(file[name].value) for name in ("Manufacturer", "ManufacturerModelName") if file.get(name))
    if device:
        found["device"] = device
    return found
