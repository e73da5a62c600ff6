"""Sound inputs that `scripts/fuzz.py` and `scripts/fuzz_atheris.py` change: small files of each format, made here,
training data, a checkpoint, texts and requests."""

from __future__ import annotations

import base64
import json
import tempfile
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from llava_ecg.ecg.formats.write import WRITERS, written
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.simulate import Heart, simulate
from scripts.fuzz_vendor import VENDORS


@dataclass(frozen=True)
class Seed:
    """A sound input: files by name, and which of them is handed in."""

    name: str
    files: dict[str, bytes]
    main: str


def seeds_of_readers(more: Path | None) -> list[Seed]:
    """A short simulated ECG in each format that can be written, and the small files of a folder."""
    recording = simulate(Heart(rate_bpm=72), seed=1, seconds=2.0)[0].select(("I", "II", "V1"))
    found = []
    for suffix in WRITERS:
        made = {path.name: content for path, content in written(recording, Path(f"seed{suffix}")).items()}
        found.append(Seed(f"seed{suffix}", made, f"seed{suffix}"))
    told = {"rate": 500, "unit": "mV", "leads": list(recording.leads)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seed.npy"
        np.save(path, recording.signal)
        found.append(
            Seed("seed.npy", {"seed.npy": path.read_bytes(), "seed.json": json.dumps(told).encode()}, "seed.npy")
        )
    found += _hdf5_seed(simulate(Heart(rate_bpm=72), seed=1, seconds=2.0)[0].signal) + _parquet_seeds(recording)
    found += _vendor_seeds(recording) + _interrupted_seed(recording) + _bdf_seed(recording)
    found += [_segments_seed(recording), _packed_seed(recording), _groups_seed(recording)]
    for path in sorted(more.iterdir()) if more is not None else []:
        if path.is_file() and path.stat().st_size < 1 << 20:
            found.append(Seed(path.name, {path.name: path.read_bytes()}, path.name))
    return found


def _hdf5_seed(signal_mv: np.ndarray) -> list[Seed]:
    try:
        import h5py
    except ImportError:
        return []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seed.hdf5"
        with h5py.File(path, "w") as file:
            file["tracings"] = signal_mv.T[None].astype(np.float32)
        return [Seed("seed.hdf5", {"seed.hdf5": path.read_bytes()}, "seed.hdf5")]


def _interrupted_seed(recording: Recording) -> list[Seed]:
    """EDF+ that says it was interrupted; its only gap is what a mutation makes of its times."""
    try:
        import edfio
    except ImportError:
        return []
    mark = edfio.EdfAnnotation(0.0, None, "a word")
    content = edfio.Edf(
        _edf_signals(edfio.EdfSignal, recording), data_record_duration=0.5, annotations=[mark]
    ).to_bytes()
    return [Seed("parts.edf", {"parts.edf": content.replace(b"EDF+C", b"EDF+D", 1)}, "parts.edf")]


def _bdf_seed(recording: Recording) -> list[Seed]:
    """BDF, of 24 bits a sample."""
    try:
        import edfio
    except ImportError:
        return []
    content = edfio.Bdf(_edf_signals(edfio.BdfSignal, recording)).to_bytes()
    return [Seed("seed.bdf", {"seed.bdf": content}, "seed.bdf")]


def _edf_signals(kind: Any, recording: Recording) -> list[Any]:
    """The leads as signals of edfio's, in uV."""
    rows = zip(recording.leads, recording.signal, strict=True)
    return [kind(1e3 * row, recording.rate, label=name, physical_dimension="uV") for name, row in rows]


def _segments_seed(recording: Recording) -> Seed:
    """A WFDB record of two segments with a gap between, and the layout of its leads."""
    half = recording.signal.shape[1] // 2
    files: dict[str, bytes] = {}
    for name, signal in (("one", recording.signal[:, :half]), ("two", recording.signal[:, half:])):
        made = written(replace(recording, signal=signal), Path(f"{name}.hea"))
        files |= {path.name: content for path, content in made.items()}
    count = len(recording.leads)
    lines = "".join(f"~ 0 1000/mV 16 0 0 0 0 {lead}\n" for lead in recording.leads)
    files["layout.hea"] = f"layout {count} {recording.rate:g} 0\n{lines}".encode()
    parts = f"layout 0\none {half}\n~ 50\ntwo {recording.signal.shape[1] - half}\n"
    whole = f"segments/4 {count} {recording.rate:g} {recording.signal.shape[1] + 50}\n{parts}"
    return Seed("segments.hea", files | {"segments.hea": whole.encode()}, "segments.hea")


def _packed_seed(recording: Recording) -> Seed:
    """A WFDB record of two signals, in format 212, two samples in three bytes, and in format 80, a byte each."""
    first, second = np.rint(100 * recording.signal[:2]).astype(int).clip(-128, 127)
    one, two = first[::2] & 0xFFF, first[1::2] & 0xFFF
    triples = np.stack([one & 0xFF, one >> 8 | two >> 8 << 4, two & 0xFF], axis=1)
    lines = f"a.dat 212 100/mV 12 0 0 0 0 {recording.leads[0]}\nb.dat 80 100/mV 8 0 0 0 0 {recording.leads[1]}\n"
    header = f"packed 2 {recording.rate:g} {len(first)}\n{lines}"
    files = {"a.dat": triples.astype(np.uint8).tobytes(), "b.dat": (second + 128).astype(np.uint8).tobytes()}
    return Seed("packed.hea", files | {"packed.hea": header.encode()}, "packed.hea")


def _groups_seed(recording: Recording) -> Seed:
    """A DICOM waveform of three groups: two leads, the third lead, and a derived beat."""
    import pydicom

    parts = (recording.select(recording.leads[:2]), recording.select(recording.leads[2:]), recording.window(0, 0.6))
    files = [pydicom.dcmread(BytesIO(*written(part, Path("a.dcm")).values())) for part in parts]
    files[2].WaveformSequence[0].WaveformOriginality = "DERIVED"
    files[0].WaveformSequence = [each.WaveformSequence[0] for each in files]
    content = BytesIO()
    files[0].save_as(content)
    return Seed("groups.dcm", {"groups.dcm": content.getvalue()}, "groups.dcm")


def _vendor_seeds(recording: Recording) -> list[Seed]:
    """A file of each manufacturer's format."""
    made = {name: write(recording) for name, write in VENDORS.items()}
    return [Seed(name, {name: content}, name) for name, content in made.items()]


def _parquet_seeds(recording: Recording) -> list[Seed]:
    """A table of samples and a table of recordings."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return []
    leads = dict(zip(recording.leads, recording.signal, strict=True))
    tables = {"samples.parquet": leads, "rows.parquet": {lead: [row] for lead, row in leads.items()}}
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name, columns in tables.items():
            table = pyarrow.table(columns).replace_schema_metadata({"rate": "500", "unit": "mV"})
            pyarrow.parquet.write_table(table, Path(folder) / name)
            found.append(Seed(name, {name: (Path(folder) / name).read_bytes()}, name))
    return found


def seeds_of_records(_: Path | None) -> list[Seed]:
    """Records of each form."""
    record = {
        "id": 1,
        "ecg": ["a.hea", "b.hea"],
        "conversations": [{"from": "human", "value": "<image>\n<image>\nWhy?"}, {"from": "gpt", "value": "So."}],
    }
    line = json.dumps(record).encode()
    return [
        Seed("a.json", {"a.json": b"[" + line + b"," + line + b"]"}, "a.json"),
        Seed("a.jsonl", {"a.jsonl": line + b"\n" + line + b"\n"}, "a.jsonl"),
        Seed("m.yaml", {"m.yaml": b"sets:\n- path: a.jsonl\n  weight: 0.5\n", "a.jsonl": line + b"\n"}, "m.yaml"),
    ]


def seeds_of_checkpoints(_: Path | None) -> list[Seed]:
    """A tiny checkpoint of ours, whole."""
    import torch
    from safetensors.torch import save

    text = {"model_type": "llama", "vocab_size": 8, "hidden_size": 4, "intermediate_size": 8, "num_hidden_layers": 1}
    config = {"model_type": "llama", **text, "num_attention_heads": 1}
    weights = save({"model.embed_tokens.weight": torch.zeros(8, 4), "model.norm.weight": torch.zeros(4)})
    return [Seed("llama", {"config.json": json.dumps(config).encode(), "model.safetensors": weights}, "config.json")]


def seeds_of_claims(_: Path | None) -> list[Seed]:
    """A paragraph of each manner."""
    texts = (
        "Sinus rhythm at 72 bpm. PR 160 ms, QRS 90-100 ms, no ST elevation in II, III and aVF; QTc is not prolonged.",
        "| lead | R (mV) |\n|---|---|\n| V5 | 1.8 |\n**Impression**: LVH, possible first-degree AV block.",
        "Sinusrhythmus, Lagetyp normal, PQ-Zeit 0,18 s, keine Rückbildungsstörungen.",
    )
    return [Seed(f"{n}.txt", {f"{n}.txt": text.encode()}, f"{n}.txt") for n, text in enumerate(texts)]


def seeds_of_requests(_: Path | None) -> list[Seed]:
    """A request for each format that is small, with its file in the body and beside it, and one with an image."""
    try:
        import fastapi  # noqa: F401
    except ImportError:
        return []
    import sleepecg  # noqa: F401  # some ECGs are measured with it: seconds of imports that are no part of an input's time

    text = {"type": "text", "text": "Rate?"}
    found = []
    for seed in seeds_of_readers(None):
        if len(seed.files) == 1 and len(seed.files[seed.main]) < 100_000:
            file = {"filename": seed.main, "file_data": f"@{seed.main}", "missing_leads": "zero"}
            found.append(_request_seed(seed, [text, {"type": "file", "file": file}]))
            whole = (
                found[-1]
                .files["request.json"]
                .replace(b"@" + seed.main.encode(), base64.b64encode(seed.files[seed.main]))
            )
            found.append(Seed(f"whole-{seed.main}", {"request.json": whole}, "request.json"))
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.png"
        Image.new("RGB", (64, 48), "white").save(page)
        picture = Seed("page.png", {"page.png": page.read_bytes()}, "page.png")
    url = {"type": "image_url", "image_url": {"url": "data:image/png;base64,@page.png"}}
    return [*found, _request_seed(picture, [text, url])]


def _request_seed(seed: Seed, parts: list[dict[str, Any]]) -> Seed:
    request = {"model": "tiny", "messages": [{"role": "user", "content": parts}], "max_tokens": 8, "stop": ["a"]}
    return Seed(f"http-{seed.name}", {**seed.files, "request.json": json.dumps(request).encode()}, "request.json")
