"""Hostile files found by coverage: atheris changes the inputs of `scripts/fuzz.py` towards code not reached yet.

Seeds, targets and what counts as a find are those of `scripts/fuzz.py`; what is watched is our own code of the target
(for the readers `llava_ecg.ecg.formats`), not the libraries. An input is a byte that says which file of which seed is
changed, and that file's new content. Finds are kept, named by a hash of their input, and the run goes on.

Hardware: one core, 2 GB, Linux. Time: as given. atheris is in no extra and CI needs none; `make fuzz-atheris` puts it
into an environment of its own, build/atheris, which borrows what .venv has.

    make fuzz-atheris
    build/atheris/bin/python -m scripts.fuzz_atheris --target claims --seconds 600 --keep build/finds
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

WATCHED: dict[str, tuple[str, ...]] = {
    "readers": ("llava_ecg.ecg.formats",),
    "records": ("llava_ecg.data",),
    "checkpoints": ("llava_ecg.checkpoint",),
    "claims": ("llava_ecg.grounding",),
    "http": ("llava_ecg.serve", "llava_ecg.case"),
}
"""Target of `scripts/fuzz.py` -> the packages whose code is watched."""

Places = list[tuple[Any, str]]


def places_of(seeds: Sequence[Any]) -> Places:
    """(seed, name of its file that is changed), at most 256 of them: what the first byte of an input chooses."""
    return [(seed, name) for seed in seeds for name in sorted(seed.files)][:256]


def corpus_of(places: Places) -> list[bytes]:
    """The inputs that stand for the seeds as they are."""
    return [bytes([number]) + seed.files[name] for number, (seed, name) in enumerate(places)]


def files_of(data: bytes, places: Places) -> tuple[dict[str, bytes], str]:
    """(files by name, the one that is handed in) of an input."""
    seed, name = places[data[0] % len(places)] if data else places[0]
    return {**seed.files, name: data[1:]}, seed.main


def unwatched(target: str) -> list[str]:
    """The modules of ours that are not watched: atheris takes a whole top-level package but for those it is told."""
    spec = find_spec("llava_ecg")
    assert spec is not None and spec.submodule_search_locations
    root = Path(spec.submodule_search_locations[0])
    names = [
        ".".join(("llava_ecg", *each.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")
        for each in root.rglob("*.py")
    ]
    inside = tuple(f"{package}." for package in WATCHED[target])
    return sorted(name for name in names if not f"{name}.".startswith(inside))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    found.add_argument("--target", choices=WATCHED, default="readers", help="(default: %(default)s)")
    found.add_argument("--seconds", type=float, default=600.0, help="how long (default: %(default)s)")
    found.add_argument("--files", type=Path, help="folder of more files to change, for the readers")
    found.add_argument("--keep", type=Path, help="folder for the finds")
    found.add_argument(
        "--corpus", type=Path, help="folder of inputs that reached new code, to go on from and to add to"
    )
    found.add_argument("--largest", type=int, default=1 << 16, help="bytes of an input at most (default: %(default)s)")
    found.add_argument("--json", type=Path)
    return found


class Count:
    """What came of the inputs, until time is up.

    Args:
        ended: is called with the exit code once it is.
    """

    def __init__(self, options: argparse.Namespace, places: Places, fuzz: Any, ended: Callable[[int], object]) -> None:
        self._options, self._places, self._fuzz, self._ended = options, places, fuzz, ended
        self._target = fuzz.TARGETS[options.target][1]
        self._until = time.monotonic() + options.seconds
        self.outcomes: Counter[str] = Counter()

    def __call__(self, data: bytes) -> None:
        """One input."""
        files, main = files_of(data, self._places)
        keep = self._options.keep and self._options.keep / f"atheris-{hashlib.sha256(data).hexdigest()[:12]}"
        self.outcomes[self._fuzz.outcome_of(files, main, self._target, keep)] += 1
        if time.monotonic() > self._until:
            self._ended(self.told())

    def told(self) -> int:
        """Print the counts and write them; 1 where there are finds."""
        outcomes = dict(self.outcomes.most_common())
        print(f"{self._options.target}: {sum(outcomes.values()):,} inputs, {outcomes}", flush=True)
        if self._options.json:
            found = {"target": self._options.target, "seconds": self._options.seconds, "outcomes": outcomes}
            self._options.json.write_text(json.dumps(found, indent=2) + "\n")
        return int(bool(set(outcomes) - {"result", "refused"}))


def main(words: Sequence[str] | None = None) -> int:
    """Run one target and print the counts; exit code 1 where there are finds, 2 where atheris is absent."""
    options = parser().parse_args(words)
    if find_spec("atheris") is None:
        print("fuzz_atheris: atheris is not installed here; use: make fuzz-atheris", file=sys.stderr)
        return 2
    import atheris

    with atheris.instrument_imports(include=["llava_ecg"], exclude=unwatched(options.target)):
        from scripts import fuzz

        seeds = fuzz.TARGETS[options.target][0](options.files)
        fuzz.target_once(seeds, fuzz.TARGETS[options.target][1])  # and everything is imported
    places = places_of([seed for seed in seeds if max(map(len, seed.files.values())) < options.largest])
    begun = Path(tempfile.mkdtemp(prefix="fuzz-atheris-"))
    for number, data in enumerate(corpus_of(places)):
        (begun / f"seed-{number:03}").write_bytes(data)
    folders = [str(begun)]
    if options.corpus:
        options.corpus.mkdir(parents=True, exist_ok=True)
        folders.insert(0, str(options.corpus))  # libFuzzer writes into the first one
    # our limits stand in for libFuzzer's, which would end the run at the first find
    flags = ["-timeout=0", "-rss_limit_mb=0", "-malloc_limit_mb=0", f"-max_len={options.largest}", "-verbosity=0"]
    count = Count(options, places, fuzz, os._exit)  # libFuzzer can't be left otherwise
    atheris.Setup([sys.argv[0], *flags, *folders], count)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + fuzz.BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
