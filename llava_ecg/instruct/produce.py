"""`produce`: recordings and what was said of them -> LLaVA JSONL for training and validation, with what was left out
and why.

Beside ``OUT.jsonl`` stand ``OUT.val.jsonl``, ``OUT.setaside.jsonl`` (the report contradicts the measurements) and
``OUT.failures.jsonl`` (a recording that can't be read); each only where it has a line. `chunks` makes the lines,
`engines` says where, `output` keeps them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from llava_ecg.instruct.chunks import CHUNK, Job, Part, chunked
from llava_ecg.instruct.engines import Engine, Here
from llava_ecg.instruct.facts import Given, measure_version
from llava_ecg.instruct.output import Output
from llava_ecg.instruct.sources import Listed
from llava_ecg.instruct.summary import Options, Summary
from llava_ecg.instruct.writer import Writer

__all__ = ["Options", "Summary", "produce", "settings_of", "splits", "texts"]

Progress = Callable[[int, int], None]
"""Is told of how many recordings how many are done: once with those of a former run, then after each chunk."""


def produce(
    listed: Listed,
    writer: Writer,
    options: Options,
    progress: Progress | None = None,
    engine: Engine | None = None,
) -> Summary:
    """Write the set, or what is left of it where the same was begun before.

    Args:
        progress: is told how far it is.
        engine: where it is done; here if none is given. What is written is the same with each.

    Raises:
        InputError: a file or folder that can't be written, or one that holds what a run with other settings began. What
            is done is kept then, as it is at a KeyboardInterrupt.
        StoppedError: a remote writer's budget is used up, or its endpoint gives no answer; the same goes on.
    """
    with Output(options, settings_of(listed, writer, options)) as output:
        whole = len(listed.given)
        if progress is not None:
            progress(min(output.chunks * CHUNK, whole), whole)
        if not output.ended:
            split = splits(listed.given, options.val)
            chunks = chunked(listed.given, map(split, listed.given), output.chunks)
            with closing(_closable((engine or Here()).run(Job(writer, options), chunks))) as parts:
                for part in parts:
                    output.add(part)
                    if progress is not None:
                        progress(min(output.chunks * CHUNK, whole), whole)
        output.finish()
        return output.summary


def _closable(parts: Iterator[Part]) -> Generator[Part, None, None]:
    """A generator, whose end ends what is in flight."""
    yield from parts


def settings_of(listed: Listed, writer: Writer, options: Options) -> dict[str, Any]:
    """What the lines of a set hang on, by the names that a person is told where they differ."""
    records = hashlib.sha256()
    for each in listed.given:
        known = {name: value for name, value in vars(each).items() if name != "path"}
        records.update(json.dumps(known).encode())
    return {
        "records": records.hexdigest()[:16],
        "writer": writer.name,
        "prompt": writer.prompt,
        "guide": writer.guide.version,
        "seed": writer.seed,
        "measure": measure_version(),
        "images": options.images is not None,
        "measurements": options.gem,
        "val": options.val,
        "attempts": options.attempts,
        "chunk": CHUNK,
        **writer.settings,
    }


def splits(given: tuple[Given, ...], share: float) -> Callable[[Given], str]:
    """Recording -> ``train`` or ``val``, each patient in one of them.

    What the source fixes holds, and a patient of whom it puts one recording into ``val`` is there with all; of the
    others those whose name's digest is among the first `share` are. Without a patient a recording stands for itself.
    """
    fixed: dict[str, str] = {}
    for each in given:
        if each.split and fixed.get(_who(each)) != "val":
            fixed[_who(each)] = each.split

    def split(each: Given) -> str:
        if (held := fixed.get(_who(each))) is not None:
            return held
        digest = int.from_bytes(hashlib.sha256(_who(each).encode()).digest()[:8], "big")
        return "val" if digest < share * 2**64 else "train"

    return split


def _who(given: Given) -> str:
    return f"patient {given.patient}" if given.patient else f"recording {given.name}"


def texts(path: Path) -> Iterator[tuple[str, str, str]]:
    """(task, question, answer) of each exchange of a file that `produce` wrote."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            turns = [turn["value"] for turn in record["conversations"]]
            for question, answer in zip(turns[::2], turns[1::2], strict=True):
                yield record["task"], question, answer
