"""Fine-tuning starts from a released checkpoint of any layout, and what comes out can be given back in that layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from llava_ecg.model.convert import convert, merge
from llava_ecg.model.loading import open_checkpoint
from llava_ecg.train.run import main
from tests.model import released as write

from .test_run import toy  # noqa: F401  (a fixture)

pytest.importorskip("peft")


def flags(model: Path, data: Path, out: Path, *more: str) -> list[str]:
    return [
        *(
            "--model_name_or_path",
            str(model),
            "--data_path",
            str(data / "train.json"),
            "--ecg_folder",
            str(data),
            "--render_pages",
        ),
        *(
            "--output_dir",
            str(out),
            "--use_cpu",
            "--report_to",
            "none",
            "--disable_tqdm",
            "true",
            "--per_device_train_batch_size",
            "1",
        ),
        *("--learning_rate", "1e-3", "--max_steps", "2", "--save_strategy", "no", *more),
    ]


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {name: value for path in sorted(folder.glob("*.safetensors")) for name, value in load_file(path).items()}


def quiet(_: str) -> None: ...


def test_gem_whole_and_back(toy: Path, golden: Path, tmp_path: Path) -> None:  # noqa: F811
    gem = write.gem(tmp_path / "gem", golden, form="bin", shards=2)
    assert main(flags(gem.folder, toy, tmp_path / "out", "--model_max_length", "2048")) == 0
    convert(tmp_path / "out", tmp_path / "back", "llava", progress=quiet)
    back = tensors(tmp_path / "back")
    assert {name: tuple(value.shape) for name, value in back.items()} == {
        name: tuple(value.shape) for name, value in gem.state.items()
    }
    for name in ("model.ecg_projector.weight", "model.mm_projector.0.weight", "lm_head.weight"):
        assert not torch.equal(back[name], gem.state[name])
    for name in back:  # towers are frozen, and bit-identical after all
        if "tower" in name:
            assert torch.equal(back[name], gem.state[name]), name
    values = json.loads((tmp_path / "back" / "config.json").read_text())
    assert {key: values.get(key) for key in gem.config} == gem.config
    again = open_checkpoint(tmp_path / "back").model.config
    assert (again.template, again.streams["image"]["preparation"]["aspect"]) == ("llava_v1", "ori")


def test_a_lora_of_gem_is_merged_into_its_layout(toy: Path, golden: Path, tmp_path: Path) -> None:  # noqa: F811
    gem = write.gem(tmp_path / "gem", golden)
    assert main(flags(gem.folder, toy, tmp_path / "out", "--lora_enable", "--lora_r", "2")) == 0
    assert not (tmp_path / "out" / "model.safetensors").exists()  # over the GEM that it came from
    assert (tmp_path / "out" / "adapter" / "adapter_model.safetensors").is_file()
    merge(tmp_path / "out", tmp_path / "merged", progress=quiet)
    lora, merged = open_checkpoint(tmp_path / "out").model, open_checkpoint(tmp_path / "merged").model
    for name, value in lora.state_dict().items():
        torch.testing.assert_close(merged.state_dict()[name], value, atol=1e-6, rtol=0)
    assert not torch.equal(merged.state_dict()["projectors.ecg.weight"], gem.state["model.ecg_projector.weight"])
    # moved to another machine, it is told where the GEM lies
    gem.folder.rename(tmp_path / "moved")
    assert open_checkpoint(tmp_path / "out", base=tmp_path / "moved").model.config.template == "llava_v1"
    convert(tmp_path / "merged", tmp_path / "back", "llava", progress=quiet)
    assert set(tensors(tmp_path / "back")) == set(gem.state)


def test_a_released_lora_is_gone_on_with(toy: Path, golden: Path, tmp_path: Path) -> None:  # noqa: F811
    gem = write.gem(tmp_path / "gem", golden)
    write.lora(tmp_path / "lora", golden, gem.folder, form="safetensors")
    assert main(flags(tmp_path / "lora", toy, tmp_path / "out", "--lora_enable", "--learning_rate", "1e-6")) == 0
    before, after = open_checkpoint(tmp_path / "lora").model, open_checkpoint(tmp_path / "out").model
    name = "language_model.model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(before.state_dict()[name], gem.state["model.layers.0.self_attn.q_proj.weight"])
    torch.testing.assert_close(after.state_dict()[name], before.state_dict()[name], atol=1e-3, rtol=0)


@pytest.mark.parametrize("tuned", [(), ("--tune_mm_mlp_adapter",), ("--lora_enable",)])
def test_pulse_is_given_an_ecg_stream(tuned: tuple[str, ...], toy: Path, golden: Path, tmp_path: Path) -> None:  # noqa: F811
    pulse = write.pulse(tmp_path / "pulse", golden)
    coca = write.ecg_coca_pt(tmp_path / "cpt.pt", golden)
    (tmp_path / "cpt.json").write_text((golden / "ecg_tower_config.json").read_text())
    assert main(flags(pulse.folder, toy, tmp_path / "out", "--ecg_tower", str(tmp_path / "cpt.pt"), *tuned)) == 0
    assert (tmp_path / "out" / "model.safetensors").exists() == (not tuned)  # else over the PULSE that it came from
    model = open_checkpoint(tmp_path / "out").model
    assert list(model.config.streams) == ["ecg", "image"]
    assert model.config.streams["ecg"]["through"] == "image"
    assert model.config.streams["image"]["preparation"]["aspect"] == "anyres"
    assert torch.equal(model.towers["ecg"].conv1.weight, coca.state["module.ecg.conv1.weight"])
    # and goes into GEM's layout, with everything that PULSE had
    convert(tmp_path / "out", tmp_path / "gem", "llava", progress=quiet)
    names = set(tensors(tmp_path / "gem"))
    assert set(pulse.state) < names
    assert {name.split(".")[1] for name in names - set(pulse.state)} == {"ecg_tower", "ecg_projector"}
    again = open_checkpoint(tmp_path / "gem").model
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, atol=1e-6, rtol=0)
    assert again.config.streams == model.config.streams
    assert again.config.template == model.config.template


def test_a_tuned_clip_is_filed_and_a_frozen_one_named(toy: Path, golden: Path, tmp_path: Path) -> None:  # noqa: F811
    tower = write.clip_folder(tmp_path / "clip", golden)
    llava = write.llava_15(tmp_path / "llava", golden, tower.folder, buffers=False)
    for name, more in (("frozen", ()), ("tuned", ("--unfreeze_vision_tower",))):
        assert main(flags(llava.folder, toy, tmp_path / name, *more)) == 0
        convert(tmp_path / name, tmp_path / f"{name}-llava", "llava", progress=quiet)
        inside = any("vision_tower" in key for key in tensors(tmp_path / f"{name}-llava"))
        assert inside == (name == "tuned")
        opened = open_checkpoint(tmp_path / f"{name}-llava").model.state_dict()
        for key, value in open_checkpoint(tmp_path / name).model.state_dict().items():
            assert torch.equal(opened[key], value), key
