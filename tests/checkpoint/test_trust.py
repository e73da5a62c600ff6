"""A pickle that would run something is opened for who said --trust-pickle and for nobody else, in every layout and by
every way in.

What the pickles here would run makes an empty file in the test's own folder. Each pickle of each layout is marked in
turn, also those that trainers leave beside the weights, and then everything is done with the folder that can be done
with it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import llava_ecg
from llava_ecg.checkpoint.inspect import inspect
from llava_ecg.checkpoint.opening import open_tower
from llava_ecg.cli import main
from llava_ecg.errors import InputError
from llava_ecg.model.convert import convert, merge
from llava_ecg.model.llava import LlavaEcgForCausalLM
from llava_ecg.model.loading import compose, load_projectors
from llava_ecg.streams import StreamConfig
from tests.model import released as write
from tests.model.released_files import write_weights

More = dict[str, Any]
Action = Callable[[Path, Path, More], Any]


class Marker:
    """Unpickled, it makes an empty file and nothing else."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> Any:
        return Path.touch, (self.made,)


@contextmanager
def marked(file: Path, made: Path) -> Iterator[None]:
    """The pickle with a marker more, which works where it is trusted; afterwards as it was."""
    whole = file.read_bytes()
    held = torch.load(file, weights_only=False)
    torch.save(
        held | {"marker": Marker(made)} if isinstance(held, dict) else {"held": held, "marker": Marker(made)}, file
    )
    try:
        torch.load(file, weights_only=False)
        assert made.is_file(), "the marker does nothing, so nothing is tested"
        made.unlink()
        yield
    finally:
        file.write_bytes(whole)


# -- layouts -----------------------------------------------------------------------------------------------------------


def gem(at: Path, golden: Path) -> tuple[Path, More]:
    return write.gem(at / "gem", golden, form="bin", shards=2).folder, {}


def tied(at: Path, golden: Path) -> tuple[Path, More]:
    """The head in the first shard and the embedding that it is tied to in the last, so that they are read from
    different files."""
    folder = write.gem_qwen(at / "tied", golden, form="bin", tied=True).folder
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    (folder / "pytorch_model.bin").unlink()
    head, embedding = "lm_head.weight", "model.embed_tokens.weight"
    middle = {name: value for name, value in state.items() if name not in (head, embedding)}
    write_weights(folder, {head: state[head].clone(), **middle, embedding: state[embedding].clone()}, "bin", 2)
    return folder, {}


def llava_15(at: Path, golden: Path) -> tuple[Path, More]:
    tower = write.clip_folder(at / "clip", golden, form="bin").folder
    return write.llava_15(at / "llava", golden, tower, shards=1).folder, {"vision_tower": tower}


def lora(at: Path, golden: Path) -> tuple[Path, More]:
    base = write.gem(at / "base", golden, form="bin").folder
    return write.lora(at / "lora", golden, base, form="bin").folder, {"base": base}


def projectors(at: Path, golden: Path) -> tuple[Path, More]:
    """Over a language model and towers that all lie elsewhere, as pickles."""
    base = write.language_model(at / "base", golden, form="bin").folder
    image = write.clip_vision_folder(at / "clip", golden, form="bin").folder
    ecg = write.ecg_coca_pt(at / "coca.pt", golden).folder
    return write.projectors(at / "projectors", golden, base, vision_tower=image, ecg_tower=ecg).folder, {"base": base}


def ours(at: Path, golden: Path) -> tuple[Path, More]:
    """Our layout with its weights pickled, as somebody may file them."""
    folder = convert(write.gem(at / "gem", golden).folder, at / "ours", "ours", progress=len)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder, {}


def ecg_tower(at: Path, golden: Path) -> tuple[Path, More]:
    write.write_json(at / "coca.json", write.small_coca(golden))
    return write.ecg_coca_pt(at / "coca.pt", golden).folder, {}


def image_tower(at: Path, golden: Path) -> tuple[Path, More]:
    return write.clip_folder(at / "clip", golden, form="bin").folder, {}


def given_tower(at: Path, golden: Path) -> tuple[Path, More]:
    """A tower in place of the one that a safetensors checkpoint brings."""
    tower, _ = ecg_tower(at, golden)
    return write.gem(at / "gem", golden).folder, {"ecg_tower": tower}


LAYOUTS: dict[str, Callable[[Path, Path], tuple[Path, More]]] = {
    **{"gem": gem, "tied": tied, "llava-1.5": llava_15, "lora": lora, "projectors": projectors, "ours": ours},
    **{"ecg tower": ecg_tower, "image tower": image_tower, "given tower": given_tower},
}


# -- what can be done with one -----------------------------------------------------------------------------------------


def _only(more: More, *names: str) -> More:
    return {name: value for name, value in more.items() if name in names}


def on_the_command_line(path: Path, out: Path, more: More) -> None:
    """Commands say it and end in 2 where it is an `InputError`."""
    flags = [word for name, value in more.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert main(["inspect", str(path), *flags]) in (0, 2)
    assert main(["convert", str(path), str(out), "--to", "llava", *flags]) in (0, 2)


ACTIONS: dict[str, Action] = {
    "load": lambda path, out, more: llava_ecg.load(path, device="cpu", **more),
    "load loosely": lambda path, out, more: llava_ecg.load(path, device="cpu", strict=False, **more),
    "from_pretrained": lambda path, out, more: LlavaEcgForCausalLM.from_pretrained(path, weights_only=False, **more),
    "convert to llava": lambda path, out, more: convert(path, out, "llava", progress=len, **more),
    "convert to ours": lambda path, out, more: convert(path, out, "ours", progress=len, **more),
    "convert to encoder": lambda path, out, more: convert(
        path, out, "encoder", progress=len, **_only(more, "trust_pickle")
    ),
    "merge": lambda path, out, more: merge(path, out, progress=len, **_only(more, "base", "trust_pickle")),
    "inspect": lambda path, out, more: inspect(path, **_only(more, "base", "ecg_tower", "vision_tower")).lines(),
    "command line": on_the_command_line,
}


def pickles(folder: Path) -> list[Path]:
    return sorted(path for ending in ("*.bin", "*.pt") for path in folder.rglob(ending))


def refused(action: Action, path: Path, out: Path, more: More) -> str:
    """The sentence of the `InputError` in which it ended, empty where it went well; anything else that is raised is a
    fault."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            action(path, out, more)
    except InputError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_runs_without_trust(layout: str, golden: Path, tmp_path: Path) -> None:
    path, more = LAYOUTS[layout](tmp_path / "in", golden)
    made = tmp_path / "made"
    assert not refused(ACTIONS["load"], path, tmp_path / "out", more), "without a marker it loads"
    read = 0
    for file in pickles(tmp_path / "in"):
        with marked(file, made):
            for number, (name, action) in enumerate(ACTIONS.items()):
                was_refused = refused(action, path, tmp_path / f"{file.stem}{number}", more)
                assert not made.exists(), f"{name} ran what is in {file.name}"
                read += name == "load" and "--trust-pickle" in was_refused
    assert read, "no pickle of this layout is one that loading reads"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_trust_reaches_every_file(layout: str, golden: Path, tmp_path: Path) -> None:
    """What is refused for want of trust is done with it, so that --trust-pickle is no advice in vain."""
    path, more = LAYOUTS[layout](tmp_path / "in", golden)
    made = tmp_path / "made"
    for file in pickles(tmp_path / "in"):
        with marked(file, made):
            for number, name in enumerate(
                ("load", "from_pretrained", "convert to ours", "convert to encoder", "merge")
            ):
                out = tmp_path / f"{file.stem}{number}"
                if "--trust-pickle" in refused(ACTIONS[name], path, out, more):
                    assert refused(ACTIONS[name], path, out, more | {"trust_pickle": True}) == "", name
                    assert made.is_file()
                    made.unlink()


def test_a_new_model_and_its_projectors(golden: Path, tmp_path: Path) -> None:
    """What begins a training: a language model and projectors from files."""
    base = write.language_model(tmp_path / "base", golden, form="bin").folder
    image = write.clip_vision_folder(tmp_path / "clip", golden, form="bin").folder
    kept = write.projectors(tmp_path / "kept", golden, base, vision_tower=image).folder / "mm_projector.bin"
    clip = open_tower(image)
    streams = {
        "image": StreamConfig.of({"tower": "clip", "tower_config": clip.tower_config, "projector": "mlp2x_gelu"})
    }
    made = tmp_path / "made"

    def composed(**trust: bool) -> LlavaEcgForCausalLM:
        return compose(str(base), streams, template="plain", tower_folders={"image": image}, **trust)

    model = composed()
    for file in (base / "pytorch_model.bin", image / "pytorch_model.bin"):
        with marked(file, made):
            with pytest.raises(InputError, match="--trust-pickle"):
                composed()
            assert not made.exists()
            composed(trust_pickle=True)
            made.unlink()
    with marked(kept, made):
        with pytest.raises(InputError, match="--trust-pickle"):
            load_projectors(model, kept)
        assert not made.exists()
        load_projectors(model, kept, trust_pickle=True)
        assert made.is_file()
