"""What a checkpoint's language model stands on, taken apart: ``python -m llava_ecg.train.tiny.unpack CHECKPOINT --out
FOLDER``.

Writes what `llava_ecg.train.tiny.align` writes, each tower in a folder of its stream's name and
``projectors.safetensors``, so that a language model can be taught anew on towers that are there already. A checkpoint
may hold the heads that its towers learned by, ``heads/STREAM.safetensors``; they go beside their tower, where
`llava_ecg.train.tiny.reading` looks for them.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save_file

from llava_ecg.checkpoint.places.find import find
from llava_ecg.errors import InputError
from llava_ecg.model.loading import Checkpoint, load
from llava_ecg.model.saving import save_tower
from llava_ecg.train.tiny.probe import HEADS

FOLDER = "heads"
"""Of a checkpoint, where the heads of its towers lie."""


def unpack(checkpoint: str, out: Path) -> list[str]:
    """Write the towers with their heads, and the projectors.

    Returns:
        The streams whose heads the checkpoint does not hold.

    Raises:
        InputError: it is none with a language model, or can't be read.
    """
    found = load(checkpoint, device="cpu")
    if not isinstance(found, Checkpoint):
        raise InputError(
            f"{checkpoint} is a tower alone and has no projectors; give a checkpoint with a language model"
        )
    model, folder = found.model, Path(find(checkpoint))
    lacking = []
    for name, stream in ((name, model.config.stream(name)) for name in model.config.streams):
        save_tower(model.towers[name], stream.tower, stream.tower_config, stream.preparation, out / name)
        heads = folder / FOLDER / f"{name}.safetensors"
        if heads.is_file():
            shutil.copyfile(heads, out / name / HEADS)
        else:
            lacking.append(name)
    values = {name: value.float().contiguous() for name, value in model.projectors.state_dict().items()}
    save_file(values, out / "projectors.safetensors")
    return lacking


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m llava_ecg.train.tiny.unpack", description=(__doc__ or "").split("\n\n")[1]
    )
    parser.add_argument("checkpoint", help="folder, or the name of an embedded checkpoint, such as gem-tiny")
    parser.add_argument("--out", type=Path, required=True)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Take a checkpoint apart."""
    args = build_parser().parse_args(argv)
    try:
        lacking = unpack(args.checkpoint, args.out)
    except (InputError, OSError, ValueError) as error:
        print(f"llava_ecg.train.tiny.unpack: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}: towers and projectors")
    for name in lacking:
        words = f"llava_ecg.train.tiny.towers {name} --init {args.out / name} --heads_only"
        print(f"no heads of the {name} tower; learn them: {words}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
