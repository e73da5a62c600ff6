"""Hostile files: mutations of sound ones of every format, each read in this process, until count or time is up.

A target may answer with a result or with InputError. Anything else is a find: another exception, more than 5 s, more
than 1 GB over what the process had at its start (whether or not a reader made a sentence of either), or a file that
appears beside the input. The process that reads Parquet is held to the same. Finds are kept, named by their seed.

Hardware: one core, 2 GB. Time: `--count 2000` a minute; the long run of SECURITY.md an hour.

    python scripts/fuzz.py --count 2000
    python scripts/fuzz.py --count 200000 --targets readers --files FOLDER --keep build/finds --json fuzz.json
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
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from llava_ecg.ecg.formats import parts_of, read
from llava_ecg.errors import InputError
from scripts.fuzz_seeds import (
    Seed,
    seeds_of_checkpoints,
    seeds_of_claims,
    seeds_of_readers,
    seeds_of_records,
    seeds_of_requests,
)

SECONDS, BYTES = 5, 1 << 30
_PARTS = ((0.0, 0.5), (0.5, None), (0.7, 0.7), (1.9, 99.0), (1e6, 1.0))  # start and length, s, of inputs that last 2 s
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


class TooLong(BaseException):
    """The time of one input is up; no Exception, since readers make a sentence of whatever a library raises."""


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


def read_one(path: Path) -> None:
    """The readers: all of a recording, a part of it, or its parts as `measure --every` reads them, a third of the
    inputs each. Which, the bytes of the input tell, so that a find that was kept is read as it was found."""
    told = zlib.crc32(b"".join(file.read_bytes() for file in sorted(path.parent.iterdir())))
    if told % 3 == 0:
        read(path)
    elif told % 3 == 1:
        start, seconds = _PARTS[told // 3 % len(_PARTS)]
        read(path, start=start, seconds=seconds)
    else:
        whole, part = parts_of(path)
        for start in (0.0, whole / 3, max(0.0, whole - 0.5)):
            part(start, 0.5)


def load_records(path: Path) -> None:
    """Training data: JSON, JSONL and mixtures."""
    from llava_ecg.data.dataset import load_conversations

    for conversation in load_conversations(path):
        _ = conversation.markers


def open_checkpoint(path: Path) -> None:
    """The opener of checkpoints: configs and headers, no weights."""
    from llava_ecg.checkpoint.opening import open_source

    open_source(str(path.parent))


def parse_claims(path: Path) -> None:
    """The parser of claims."""
    from llava_ecg.grounding.claims import find_claims

    find_claims(path.read_text("utf-8", "replace"))


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
    return outcome_of(files, seed.main, target, None if keep is None else keep / f"{seed.name}-{number}")


def outcome_of(files: dict[str, bytes], main: str, target: Callable[[Path], None], keep: Path | None) -> str:
    """What a target makes of files: ``result``, ``refused``, or what went wrong.

    Args:
        main: the name of the file that is handed in.
        keep: the folder that a find is copied into.
    """
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        outcome = _tried(Path(folder) / main, target)
        if outcome in ("result", "refused"):
            if time.monotonic() - begin > SECONDS + 1:  # where C code kept the alarm waiting
                outcome = f"over {SECONDS} s"
            if (others := _of_children()) > BYTES:
                outcome = f"over {BYTES >> 20} MB in another process ({others >> 20})"
        if {path.name for path in Path(folder).iterdir()} != set(files):
            outcome = "another file beside the input"
        if keep is not None and outcome not in ("result", "refused"):
            shutil.copytree(folder, keep, dirs_exist_ok=True)
    return outcome


def _tried(path: Path, target: Callable[[Path], None]) -> str:
    try:
        with limited(), warnings.catch_warnings(), contextlib.redirect_stderr(None), contextlib.redirect_stdout(None):
            warnings.simplefilter("ignore")
            target(path)
        return "result"
    except InputError as error:
        if _of_memory(error):
            return f"over {BYTES >> 20} MB"
        return "refused" if str(error).isprintable() else "a message with control characters"
    except TooLong:
        return f"over {SECONDS} s"
    except MemoryError:
        return f"over {BYTES >> 20} MB"
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"


def _of_memory(error: BaseException | None) -> bool:
    """Whether memory ran out behind a sentence."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


_PEAKS: dict[str, int] = {}  # of each process of this one, by its number, as last seen


def _of_children() -> int:
    """The most bytes that a process of this one has ever held, where that grew since the last call; else 0."""
    grown = 0
    for process in Path("/proc/self/task").glob("*/children"):
        for number in process.read_text().split():
            with contextlib.suppress(OSError):  # it may have ended
                told = Path(f"/proc/{number}/status").read_text().splitlines()
                peak = max((int(line.split()[1]) << 10 for line in told if line.startswith("VmHWM:")), default=0)
                grown = max(grown, peak if peak > _PEAKS.get(number, 0) else 0)
                _PEAKS[number] = peak
    return grown


def main() -> int:
    """Run the targets and print the counts; exit code 1 where there are finds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--count", type=int, default=2000, help="inputs of each target (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="at most so long for each target")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation (default: 0)")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--seeds", nargs="+", metavar="NAME", help="those of these names alone, such as seed.edf")
    parser.add_argument("--files", type=Path, help="folder of more files to mutate, for the readers")
    parser.add_argument("--keep", type=Path, help="folder for the finds")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found: dict[str, Any] = {}
    for name in options.targets:
        seeds, target = TARGETS[name][0](options.files), TARGETS[name][1]
        if options.seeds is not None:
            chosen = [seed for seed in seeds if seed.name in options.seeds]
            if len(chosen) < len(set(options.seeds)):
                parser.error(f"{name} has no such seed; it has {', '.join(seed.name for seed in seeds)}")
            seeds = chosen
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
