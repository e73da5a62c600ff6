"""How long a training sample takes: read and prepared, and from the cache of prepared inputs.

Hardware: any CPU, one core is used. Time: one minute. Memory: 1 GB; disk: 2 MB a record, in a temporary folder.

    OMP_NUM_THREADS=1 python scripts/bench/cache.py ../shared/data/cinc2021 ../shared/data/ludb

A sample is GEM's: the 12-lead signal (12 x 5000) and the page drawn from it (3 x 336 x 336), with a short conversation.
Prints one JSON object: median milliseconds of a sample without a cache, in the epoch that fills it, and in the two
epochs after; and the bytes that a record takes. Samples that differ end it with exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from llava_ecg.data.conversation import MARKER, Conversation, Turn
from llava_ecg.data.dataset import ConversationDataset
from llava_ecg.data.prepared_cache import PreparedCache
from llava_ecg.ecg.source_files import files_of
from llava_ecg.model.towers.ecg_coca import EcgPreparation
from llava_ecg.model.towers.image import ImagePreparation
from llava_ecg.plugins import templates

ROOM = 10**10


def tokenizer() -> Any:
    """A token for each letter: what a real one takes is not what is measured."""
    model = Tokenizer(models.WordLevel({"[UNK]": 0, "</s>": 1}, unk_token="[UNK]"))
    model.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=model, unk_token="[UNK]", pad_token="[UNK]")


def dataset(paths: list[Path]) -> ConversationDataset:
    """A record for each header, with its page drawn."""
    turns = (Turn("user", f"{MARKER}\nWhat is the rhythm?"), Turn("assistant", "Sinus rhythm."))
    records = [Conversation(turns, {"ecg": (str(path),)}, path.stem) for path in paths]
    preparers: dict[str, Any] = {
        "ecg": EcgPreparation(samples=5000, tokens=101, lead_count=12),
        "image": ImagePreparation(size=336, side=24, tokens=576),
    }
    return ConversationDataset(records, templates.get("v1"), tokenizer(), preparers, {}, 2048, derive=True)


def epoch(data: ConversationDataset) -> tuple[float, list[Any]]:
    """(median milliseconds of a sample, all of them)."""
    taken, samples = [], []
    for number in range(len(data)):
        begin = time.perf_counter()
        samples.append(data[number])
        taken.append(1000 * (time.perf_counter() - begin))
    return statistics.median(taken), samples


def same(one: list[Any], two: list[Any]) -> bool:
    """Whether all values are equal to the bit."""
    return all(
        torch.equal(x.values, y.values) and torch.equal(x.index, y.index)
        for a, b in zip(one, two, strict=True)
        for name in a.streams
        for x, y in zip(a.streams[name], b.streams[name], strict=True)
    )


def main() -> int:
    """Go through the records four times and print the medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folders", type=Path, nargs="+", help="with WFDB headers in them or below")
    parser.add_argument("--records", type=int, default=100, help="at most (default: %(default)s)")
    options = parser.parse_args()
    paths = [path for folder in options.folders for path in sorted(folder.rglob("*.hea"))][: options.records]
    if not paths:
        print("no WFDB header in these folders", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    plain = dataset(paths)
    plain[0]
    with tempfile.TemporaryDirectory() as folder:
        cached = replace(plain, cache=PreparedCache(Path(folder), ROOM, files_of))
        ms, samples = {}, {}
        for name, data in (("without", plain), ("first", cached), ("second", cached), ("third", cached)):
            ms[name], samples[name] = epoch(data)
        held = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    if not all(same(samples["without"], found) for found in samples.values()):
        print("samples differ", file=sys.stderr)
        return 1
    told = {
        "records": len(paths),
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "ms_a_sample": {name: round(value, 2) for name, value in ms.items()},
        "bytes_a_record": round(held / len(paths)),
    }
    print(json.dumps(told, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
