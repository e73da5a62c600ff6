"""Layouts into one another and back: the same keys, the same bits, the same model; and nothing half done."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from llava_ecg.checkpoint import weights
from llava_ecg.checkpoint.files.headers import read_folder
from llava_ecg.errors import InputError
from llava_ecg.model import convert as module
from llava_ecg.model.convert import convert, merge
from llava_ecg.model.loading import open_checkpoint
from tests.checkpoint.test_released import WHOLE, lora_sum
from tests.model import released as write
from tests.model.released_files import State


def quiet(_: str) -> None: ...


def tensors(folder: Path) -> State:
    return {name: value for header in read_folder(folder) for name, value in load_file(header.path).items()}


def equal(have: State, expected: State) -> None:
    assert set(have) == set(expected)
    for name, value in expected.items():
        assert have[name].dtype == value.dtype
        assert torch.equal(have[name], value), name


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", WHOLE)
def test_there_and_back(layout: str, dtype: torch.dtype, golden: Path, tmp_path: Path) -> None:
    written = WHOLE[layout](tmp_path / "x", golden, dtype=dtype, shards=2)
    convert(tmp_path / "x", tmp_path / "ours", "ours", progress=quiet)
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["model_type"] == "llava_ecg"
    convert(tmp_path / "ours", tmp_path / "back", "llava", progress=quiet, shard_size=100_000)
    assert (tmp_path / "back" / "model.safetensors.index.json").is_file()
    equal(tensors(tmp_path / "back"), written.state)
    values = json.loads((tmp_path / "back" / "config.json").read_text())
    assert {key: values.get(key) for key in written.config} == written.config
    # all three are one model with one preparation
    opened = [open_checkpoint(tmp_path / name, dtype=dtype) for name in ("x", "ours", "back")]
    for other in opened[1:]:
        equal(dict(other.model.state_dict()), dict(opened[0].model.state_dict()))
        assert other.model.config.streams == opened[0].model.config.streams
        assert other.model.config.template == opened[0].model.config.template
        assert other.tokenizer.get_vocab() == opened[0].tokenizer.get_vocab()
        assert (
            other.model.language_model.generation_config.eos_token_id
            == opened[0].model.language_model.generation_config.eos_token_id
        )


def test_the_golden_checkpoint(golden: Path, tmp_path: Path) -> None:
    write.gem_golden(tmp_path / "x", golden)
    convert(tmp_path / "x", tmp_path / "ours", "ours", progress=quiet)
    convert(tmp_path / "ours", tmp_path / "back", "llava", progress=quiet)
    equal(tensors(tmp_path / "back"), load_file(golden / "tiny_gem_state.safetensors"))


def test_llava_15_goes_back_without_the_clip_that_it_only_names(golden: Path, tmp_path: Path) -> None:
    tower = write.clip_folder(tmp_path / "clip", golden)
    written = write.llava_15(tmp_path / "x", golden, tower.folder)
    convert(tmp_path / "x", tmp_path / "ours", "ours", progress=quiet)
    convert(tmp_path / "ours", tmp_path / "back", "llava", progress=quiet)
    equal(tensors(tmp_path / "back"), written.state)  # the old buffers too
    assert json.loads((tmp_path / "back" / "config.json").read_text()) == written.config


def test_what_llava_can_not_say_comes_back_too(golden: Path, tmp_path: Path) -> None:
    """Our own preparations, over a layout that has no words for them."""
    write.gem(tmp_path / "x", golden)
    model = open_checkpoint(
        tmp_path / "x",
        template="ecg_chatml",
        preparation={"ecg": {"rate": 500.0, "leads": "standard"}, "image": {"aspect": "squash"}},
    )
    from llava_ecg.model.saving import save_checkpoint

    save_checkpoint(model.model, model.tokenizer, tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "llava", "llava", progress=quiet)
    again = open_checkpoint(tmp_path / "llava").model.config
    assert (again.template, again.streams) == ("ecg_chatml", model.model.config.streams)
    assert json.loads((tmp_path / "llava" / "config.json").read_text())["model_type"] == "llava_llama"


def test_an_encoder_alone(golden: Path, tmp_path: Path) -> None:
    coca = write.ecg_coca_pt(tmp_path / "cpt.pt", golden)
    (tmp_path / "cpt.json").write_text((golden / "ecg_tower_config.json").read_text())
    said: list[str] = []
    convert(tmp_path / "cpt.pt", tmp_path / "encoder", "encoder", progress=said.append)
    encoder = {
        name.removeprefix("module.ecg."): value for name, value in coca.state.items() if name.startswith("module.ecg.")
    }
    equal(load_file(tmp_path / "encoder" / "model.safetensors"), encoder)
    assert "others left behind" in said[-1]
    write.pulse(tmp_path / "pulse", golden)
    model = open_checkpoint(tmp_path / "pulse", ecg_tower=tmp_path / "encoder").model
    assert torch.equal(model.towers["ecg"].conv1.weight, encoder["conv1.weight"])
    # and out of a whole checkpoint
    gem = write.gem(tmp_path / "gem", golden)
    convert(tmp_path / "gem", tmp_path / "encoder2", "encoder", progress=quiet)
    name = "model.ecg_tower.ecg_tower.conv1.weight"
    assert torch.equal(load_file(tmp_path / "encoder2" / "model.safetensors")["conv1.weight"], gem.state[name])


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("over", ["gem", "language model", "llava-1.6"])
def test_merge_keeps_every_part(over: str, prefix: bool, golden: Path, tmp_path: Path) -> None:
    more: dict[str, Any] = {}
    state: State = {}
    if over == "gem":
        base = write.gem(tmp_path / "base", golden)
    elif over == "llava-1.6":
        base = write.llava_16(tmp_path / "base", golden)
    else:
        base = write.language_model(tmp_path / "base", golden)
        tower = write.clip_folder(tmp_path / "clip", golden)
        coca = write.ecg_coca_pt(tmp_path / "coca.pt", golden)
        more = {"vision_tower": tower.folder, "ecg_tower": tmp_path / "coca.pt"}
        state = {
            f"model.vision_tower.vision_tower.{n}": v for n, v in tower.state.items() if n.startswith("vision_model.")
        }
        state |= {
            f"model.ecg_tower.ecg_tower.{n[11:]}": v for n, v in coca.state.items() if n.startswith("module.ecg.")
        }
    tuned = ("mm_projector", "ecg_projector", "image_newline", *(() if more else ("vision_tower", "ecg_tower")))
    tuned = tuple(part for part in tuned if part != "image_newline" or over == "llava-1.6")
    written = write.lora(tmp_path / "lora", golden, base.folder, prefix=prefix, tuned=tuned, **more)
    merge(tmp_path / "lora", tmp_path / "merged", base=base.folder, progress=quiet)
    have = tensors(tmp_path / "merged")
    expected = lora_sum(written, base.state | {n: v for n, v in state.items() if not n.endswith("position_ids")}, 8 / 4)
    have = {name: value for name, value in have.items() if not name.endswith("position_ids")}
    assert set(have) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(have[name], value, atol=1e-6, rtol=0)
    lora, merged = (open_checkpoint(tmp_path / name) for name in ("lora", "merged"))
    assert merged.model.config.streams == lora.model.config.streams
    for name, value in lora.model.state_dict().items():
        torch.testing.assert_close(merged.model.state_dict()[name], value, atol=1e-6, rtol=0)


def test_merge_wants_a_lora(golden: Path, tmp_path: Path) -> None:
    write.gem(tmp_path / "x", golden)
    with pytest.raises(InputError, match="holds no LoRA to merge"):
        merge(tmp_path / "x", tmp_path / "y", progress=quiet)
    with pytest.raises(InputError, match="stands on no other model; leave --base away"):
        merge(tmp_path / "x", tmp_path / "y", base=tmp_path / "x", progress=quiet)


@pytest.mark.parametrize("fault", [KeyboardInterrupt, OSError("disk full")])
@pytest.mark.parametrize("run", ["convert", "encoder", "merge"])
def test_an_interrupted_run_leaves_nothing(
    run: str,
    fault: Any,
    golden: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = write.gem(tmp_path / "x", golden)
    write.lora(tmp_path / "lora", golden, base.folder)
    before = tree(tmp_path)
    save = weights.save_file
    calls = []

    def broken(*args: Any, **kwargs: Any) -> None:
        calls.append(1)
        save(*args, **kwargs)
        raise fault

    monkeypatch.setattr(weights, "save_file", broken)
    with pytest.raises((KeyboardInterrupt, OSError)):
        if run == "merge":
            merge(tmp_path / "lora", tmp_path / "out", progress=quiet)
        else:
            convert(tmp_path / "x", tmp_path / "out", "encoder" if run == "encoder" else "ours", progress=quiet)
    assert calls
    assert tree(tmp_path) == before


def test_a_destination_that_is_there(golden: Path, tmp_path: Path) -> None:
    write.gem(tmp_path / "x", golden)
    before = tree(tmp_path)
    with pytest.raises(InputError, match="is there already"):
        convert(tmp_path / "x", tmp_path / "x", "ours", progress=quiet)
    with pytest.raises(InputError, match="unknown layout 'theirs'"):
        convert(tmp_path / "x", tmp_path / "y", "theirs", progress=quiet)
    assert tree(tmp_path) == before


def test_what_has_no_place_in_llavas_layout(golden: Path, tmp_path: Path) -> None:
    write.pulse(tmp_path / "pulse", golden)
    write.gem(tmp_path / "gem", golden)
    with pytest.raises(InputError, match="no projector for ecg: train it first"):
        convert(tmp_path / "pulse", tmp_path / "y", "llava", ecg_tower=tmp_path / "gem", progress=quiet)
    with pytest.raises(InputError, match="without the stream 'ecg'"):
        convert(tmp_path / "pulse", tmp_path / "y", "encoder", progress=quiet)
    assert not (tmp_path / "y").exists()


def test_no_room(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write.gem(tmp_path / "x", golden)
    real: Callable[[Path], Any] = module.shutil.disk_usage
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: real(path)._replace(free=1000))
    with pytest.raises(InputError, match="needs .* GB, and 0.0 GB are free"):
        convert(tmp_path / "x", tmp_path / "y", "ours", progress=quiet)


def test_shards_hold_what_they_can(tmp_path: Path) -> None:
    state = {
        name: torch.full((size,), float(size)) for name, size in (("a", 10), ("b", 30), ("c", 5), ("d", 5), ("e", 1))
    }
    sizes = {name: value.nbytes for name, value in state.items()}
    weights.write(tmp_path, state.items(), sizes, shard_bytes=44)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 51 * 4
    groups: dict[str, list[str]] = {}
    for name, file in index["weight_map"].items():
        groups.setdefault(file, []).append(name)
    assert list(groups.values()) == [["a"], ["b"], ["c", "d", "e"]]
    equal(tensors(tmp_path), state)
