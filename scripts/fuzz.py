"""Hostile files: mutations of sound ones of every format, each read in this process, until count or time is up.

A target may answer with a result or with InputError. Anything else is a find: another exception, more than 5 s, more
than 1 GB over what the process had at its start, or a file that appears beside the input. Finds are kept, named by
their seed.

Hardware: one core, 2 GB. Time: `--count 2000` half a minute; the long run of the documentation some hours.

    python scripts/fuzz.py --count 2000
    python scripts/fuzz.py --count 200000 --targets readers --keep /tmp/finds --json scripts/bench/results/fuzz.json
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from llava_ecg.ecg.formats import read
from llava_ecg.ecg.formats.write import WRITERS, written
from llava_ecg.ecg.recording import Recording
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.errors import InputError

SECONDS, BYTES = 5, 1 << 30
_TOKENS = (
    *(b"0", b"-1", b"999999999999", b"1e308", b"nan", b"inf", b"\xff\xff\xff\x7f", b"\x00", b"%s", b"../../etc/hosts"),
    *(
        b"<!DOCTYPE a [<!ENTITY b 'c'>]>",
        b"&b;",
        b"\n",
        b",",
        b'"',
        b"{",
        b"]",
        b"\x1b[2J",
        b"NaN",
        b"-32768",
        b"12 500 5000",
    ),
)


@dataclass(frozen=True)
class Seed:
    """A sound input: files by name, and which of them is handed in."""

    name: str
    files: dict[str, bytes]
    main: str


class TooLong(Exception):
    """The time of one input is up."""


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """`SECONDS` for what is inside."""

    def stop(*_: Any) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """The bytes with a few of them changed, cut, doubled, swapped, or replaced by what trips parsers."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 6))):
        size = len(data)
        # most formats are decided by their first kilobytes, so half of the changes go there
        at = int(rng.integers(0, max(1, min(size, 2048) if rng.random() < 0.5 else size)))
        kind = int(rng.integers(0, 7))
        if kind == 0 and size:
            data[at % size] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1 and size:
            data[at % size] = int(rng.integers(0, 256))
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            del data[at : at + int(rng.integers(1, 64))]
        elif kind == 4:
            data[at:at] = _TOKENS[int(rng.integers(0, len(_TOKENS)))]
        elif kind == 5:
            token = _TOKENS[int(rng.integers(0, len(_TOKENS)))]
            data[at : at + len(token)] = token
        else:
            length = int(rng.integers(1, 256))
            data[at:at] = data[int(rng.integers(0, max(1, size))) :][:length]
    return bytes(data)


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
    found += _hdf5_seed(recording.signal) + _parquet_seeds(recording)
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


def read_one(path: Path) -> None:
    """The readers."""
    read(path)


def load_records(path: Path) -> None:
    """Training data: JSON, JSONL and mixtures."""
    from llava_ecg.data.dataset import load_conversations

    for conversation in load_conversations(path):
        _ = conversation.markers


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


def open_checkpoint(path: Path) -> None:
    """The opener of checkpoints: configs and headers, no weights."""
    from llava_ecg.checkpoint.opening import open_source

    open_source(str(path.parent))


def seeds_of_checkpoints(_: Path | None) -> list[Seed]:
    """A tiny checkpoint of ours, whole."""
    import torch
    from safetensors.torch import save

    text = {"model_type": "llama", "vocab_size": 8, "hidden_size": 4, "intermediate_size": 8, "num_hidden_layers": 1}
    config = {"model_type": "llama", **text, "num_attention_heads": 1}
    weights = save({"model.embed_tokens.weight": torch.zeros(8, 4), "model.norm.weight": torch.zeros(4)})
    return [Seed("llama", {"config.json": json.dumps(config).encode(), "model.safetensors": weights}, "config.json")]


def parse_claims(path: Path) -> None:
    """The parser of claims."""
    from llava_ecg.grounding.claims import find_claims

    find_claims(path.read_text("utf-8", "replace"))


def seeds_of_claims(_: Path | None) -> list[Seed]:
    """A paragraph of each manner."""
    texts = (
        "Sinus rhythm at 72 bpm. PR 160 ms, QRS 90-100 ms, no ST elevation in II, III and aVF; QTc is not prolonged.",
        "| lead | R (mV) |\n|---|---|\n| V5 | 1.8 |\n**Impression**: LVH, possible first-degree AV block.",
        "Sinusrhythmus, Lagetyp normal, PQ-Zeit 0,18 s, keine Rückbildungsstörungen.",
    )
    return [Seed(f"{n}.txt", {f"{n}.txt": text.encode()}, f"{n}.txt") for n, text in enumerate(texts)]


def send_request(path: Path) -> None:
    """The HTTP endpoint: what a request asks for, its files read and its ECG measured. @NAME in its body stands for the
    file of that name, in base64."""
    from llava_ecg.case import Decoding
    from llava_ecg.serve.cases import case_of
    from llava_ecg.serve.limits import Limits, Refused
    from llava_ecg.serve.service import as_refused
    from llava_ecg.serve.wire import wanted

    body = path.read_bytes()
    for file in path.parent.iterdir():
        if file != path:
            body = body.replace(b"@" + file.name.encode(), base64.b64encode(file.read_bytes()))
    try:
        with as_refused():
            request = wanted(body, "tiny", Decoding(), 1024, Limits())
            _ = case_of(request.said, Limits()).measurements
    except Refused as refused:
        if refused.status >= 500:
            raise
        raise InputError(refused.message) from refused


def seeds_of_requests(_: Path | None) -> list[Seed]:
    """A request for each format that is small, with its file in the body and beside it, and one with an image."""
    try:
        import fastapi  # noqa: F401
    except ImportError:
        return []
    text = {"type": "text", "text": "Rate?"}
    found = []
    for seed in seeds_of_readers(None):
        if len(seed.files) == 1 and len(seed.files[seed.main]) < 100_000:
            file = {"filename": seed.main, "file_data": f"@{seed.main}", "missing_leads": "zero"}
            if seed.main.endswith(".hdf5"):
                file["leads"] = "I,II,V1"
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


TARGETS: dict[str, tuple[Callable[[Path | None], list[Seed]], Callable[[Path], None]]] = {
    "readers": (seeds_of_readers, read_one),
    "records": (seeds_of_records, load_records),
    "checkpoints": (seeds_of_checkpoints, open_checkpoint),
    "claims": (seeds_of_claims, parse_claims),
    "http": (seeds_of_requests, send_request),
}


def attempt(seed: Seed, target: Callable[[Path], None], number: int, keep: Path | None) -> str:
    """One mutation: ``result``, ``refused``, or what went wrong."""
    rng = np.random.default_rng(number)
    names = sorted(seed.files)
    changed = names[int(rng.integers(0, len(names)))]
    files = {name: mutated(content, rng) if name == changed else content for name, content in seed.files.items()}
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        try:
            with (
                limited(),
                warnings.catch_warnings(),
                contextlib.redirect_stderr(None),
                contextlib.redirect_stdout(None),
            ):
                warnings.simplefilter("ignore")
                target(Path(folder) / seed.main)
            outcome = "result"
        except InputError as error:
            outcome = "refused" if str(error).isprintable() else "a message with control characters"
        except TooLong:
            outcome = f"over {SECONDS} s"
        except MemoryError:
            outcome = f"over {BYTES >> 20} MB"
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            outcome = f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"
        if {path.name for path in Path(folder).iterdir()} != set(files):
            outcome = "another file beside the input"
        if keep is not None and outcome not in ("result", "refused"):
            shutil.copytree(folder, keep / f"{seed.name}-{number}", dirs_exist_ok=True)
    return outcome


def main() -> int:
    """Run the targets and print the counts; exit code 1 where there are finds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--count", type=int, default=2000, help="inputs of each target (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="at most so long for each target")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation (default: 0)")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--files", type=Path, help="folder of more files to mutate, for the readers")
    parser.add_argument("--keep", type=Path, help="folder for the finds")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found: dict[str, Any] = {}
    for name in options.targets:
        seeds, target = TARGETS[name][0](options.files), TARGETS[name][1]
        target_once(seeds, target)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
        begin, outcomes = time.monotonic(), Counter[str]()
        for number in range(options.first, options.first + options.count):
            if time.monotonic() - begin > options.seconds:
                break
            outcomes[attempt(seeds[number % len(seeds)], target, number, options.keep)] += 1
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_AS)[1]))
        found[name] = {"inputs": sum(outcomes.values()), "seeds": len(seeds), "outcomes": dict(outcomes.most_common())}
        print(f"{name}: {found[name]['inputs']:,} inputs, {dict(outcomes.most_common())}", flush=True)
    if options.json:
        options.json.write_text(json.dumps({"peak_bytes_at_start": held, "targets": found}, indent=2) + "\n")
    return int(any(set(each["outcomes"]) - {"result", "refused"} for each in found.values()))


def target_once(seeds: list[Seed], target: Callable[[Path], None]) -> None:
    """Each seed as it is: what is imported is imported before memory is counted, and a seed must be sound."""
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name, content in seed.files.items():
                (Path(folder) / name).write_bytes(content)
            with contextlib.suppress(InputError):  # some shared files are broken on purpose
                target(Path(folder) / seed.main)


if __name__ == "__main__":
    sys.exit(main())
