"""The released layouts that the loading tests write are what the reference, transformers and PEFT say they are."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, CLIPConfig, CLIPModel

from tests.model import released as write
from tests.model.released_7b import SEVEN_B, Shapes, joined, llava_shapes, seven_b, seven_b_config, sparse_seven_b


def filed(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder, by the index where there is one."""
    indexes = list(folder.glob("*.index.json"))
    assert len(indexes) < 2
    if not indexes:
        (only,) = (path for path in folder.iterdir() if path.name in ("model.safetensors", "pytorch_model.bin"))
        return load(only)
    where: dict[str, str] = json.loads(indexes[0].read_text())["weight_map"]
    files = {file: load(folder / file) for file in sorted(set(where.values()))}
    assert {name: file for file, state in files.items() for name in state} == where
    return {name: files[file][name] for name, file in where.items()}


def load(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)


def shapes_of(state: dict[str, torch.Tensor]) -> Shapes:
    return {name: tuple(value.shape) for name, value in state.items()}


def assert_same(state: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert state.keys() == other.keys()
    assert all(torch.equal(state[name], other[name]) and state[name].dtype == other[name].dtype for name in state)


def test_the_shapes_are_those_of_the_original_code(golden: Path) -> None:
    config = json.loads((golden / "tiny_gem_config.json").read_text())
    ours = joined(llava_shapes(config, write.small_clip(golden), write.small_coca(golden)))
    assert ours == shapes_of(load_file(golden / "tiny_gem_state.safetensors"))


def test_the_golden_model_as_a_release(golden: Path, tmp_path: Path) -> None:
    written = write.gem_golden(tmp_path / "gem", golden)
    assert_same(filed(written.folder), load_file(golden / "tiny_gem_state.safetensors"))
    kept = json.loads((golden / "tiny_gem_config.json").read_text())
    assert written.config.keys() == kept.keys()
    assert {key for key in kept if written.config[key] != kept[key]} == {"mm_vision_tower", "mm_ecg_tower"}
    assert {path.name for path in (tmp_path / "gem" / "clip_tiny").iterdir()} == {
        "config.json",
        "preprocessor_config.json",
    }
    assert json.loads((tmp_path / "gem" / "coca_tiny.json").read_text())["ecg_cfg"]["width"] == 64


@pytest.mark.parametrize("form", ["safetensors", "bin"])
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize(
    ("writer", "arguments"),
    [
        (write.gem, {"ecg_projector": "mlp2x_gelu"}),
        (write.gem_qwen, {}),
        (write.gem_qwen, {"tied": True}),
        (write.pulse, {}),
        (write.llava_16, {"family": "vicuna"}),
        (write.llava_16, {"family": "mistral"}),
        (write.language_model, {"family": "qwen2"}),
    ],
)
def test_what_is_returned_is_what_is_filed(
    golden: Path,
    tmp_path: Path,
    writer: Callable[..., write.Written],
    arguments: dict[str, Any],
    form: str,
    shards: int,
) -> None:
    written = writer(tmp_path, golden, form=form, shards=shards, dtype=torch.bfloat16, **arguments)
    assert_same(filed(tmp_path), written.state)
    assert len(list(tmp_path.glob("*-of-*"))) == (shards if shards > 1 else 0)
    assert {value.dtype for value in written.state.values()} == {torch.bfloat16}
    assert json.loads((tmp_path / "config.json").read_text()) == written.config
    assert ("lm_head.weight" in written.state) == (form == "bin" or not arguments.get("tied", False))
    again = writer(tmp_path / "again", golden, seed=1, **arguments)
    assert not torch.equal(again.state["model.norm.weight"].bfloat16(), written.state["model.norm.weight"])


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2"])
def test_language_models_open_in_transformers(golden: Path, tmp_path: Path, family: str) -> None:
    written = write.language_model(tmp_path, golden, family=family)
    assert AutoConfig.from_pretrained(tmp_path).model_type == family
    opened: Any = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True, dtype=torch.float32)
    model, report = opened
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert_same(dict(model.state_dict()), written.state)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert len(tokenizer) <= written.config["vocab_size"]
    text = "QTc 471 ms, früh"
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == text
    if family == "qwen2":
        assert tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_start|>", "<|im_end|>"]) == [256, 257, 258]
        assert tokenizer("<|im_start|>user\n").input_ids == [257, *tokenizer("user\n").input_ids]
        assert tokenizer.eos_token_id == written.config["eos_token_id"]


def test_gem_config_has_the_keys_of_the_reference(golden: Path, tmp_path: Path) -> None:
    named = [
        *(
            "mm_ecg_tower",
            "open_clip_config",
            "ecg_projector_type",
            "ecg_projector_lr",
            "mm_vision_tower",
            "mm_projector_type",
        ),
        *(
            "mm_hidden_size",
            "mm_vision_select_layer",
            "mm_vision_select_feature",
            "mm_patch_merge_type",
            "mm_use_im_start_end",
        ),
        *("mm_use_im_patch_token", "image_aspect_ratio", "tokenizer_padding_side", "tokenizer_model_max_length"),
        *("tune_mm_mlp_adapter", "freeze_mm_mlp_adapter", "mm_projector_lr", "use_mm_proj"),
    ]
    for config in (write.gem(tmp_path, golden).config, seven_b_config("gem")):
        assert set(named) <= config.keys()
    assert (config["image_aspect_ratio"], config["mm_patch_merge_type"], config["tokenizer_model_max_length"]) == (
        "ori",
        "flat",
        4096,
    )


def test_preparation_of_each_kind(golden: Path, tmp_path: Path) -> None:
    def said(written: write.Written) -> tuple[Any, ...]:
        keys = ("model_type", "image_aspect_ratio", "mm_patch_merge_type")
        return *(written.config.get(key) for key in keys), "model.image_newline" in written.state

    assert said(write.gem(tmp_path / "a", golden)) == ("llava_llama", "ori", "flat", False)
    assert said(write.gem_qwen(tmp_path / "b", golden)) == ("llava_qwen", "ori", "flat", False)
    assert said(write.pulse(tmp_path / "c", golden)) == ("llava_llama", "anyres", "flat", True)
    assert said(write.llava_16(tmp_path / "d", golden)) == ("llava", "anyres", "spatial_unpad", True)
    assert said(write.llava_16(tmp_path / "e", golden, family="mistral")) == (
        "llava_mistral",
        "anyres",
        "spatial_unpad",
        True,
    )
    assert said(write.llava_15(tmp_path / "f", golden, "openai/clip-tiny")) == ("llava", "pad", None, False)
    assert seven_b_config("pulse")["image_grid_pinpoints"] == [
        [336, 672],
        [672, 336],
        [672, 672],
        [1008, 336],
        [336, 1008],
    ]


def test_llava_15_names_its_clip_and_has_a_stray_projector(golden: Path, tmp_path: Path) -> None:
    written = write.llava_15(tmp_path, golden, "openai/clip-tiny", dtype=torch.float16)
    assert written.config["mm_vision_tower"] == "openai/clip-tiny"
    assert not any("vision" in name for name in written.state)
    assert sum(name.endswith("rotary_emb.inv_freq") for name in written.state) == written.config["num_hidden_layers"]
    stray = load(tmp_path / "mm_projector.bin")
    assert {name for name in written.state if "mm_projector" in name} == stray.keys()
    assert not any(torch.equal(value, written.state[name]) for name, value in stray.items())


def test_clip_folders(golden: Path, tmp_path: Path) -> None:
    tiny = load_file(golden / "clip_tiny" / "model.safetensors")
    assert shapes_of(write.clip_vision_folder(tmp_path / "vision", golden).state) == shapes_of(tiny)
    whole = write.clip_folder(tmp_path / "whole", golden, state=tiny)
    with torch.device("meta"):
        theirs = shapes_of(dict(CLIPModel(CLIPConfig(**whole.config)).state_dict()))
    buffers = {name for name in whole.state if name.endswith("embeddings.position_ids")}
    assert len(buffers) == 2
    assert {name: shape for name, shape in shapes_of(whole.state).items() if name not in buffers} == theirs
    assert_same({name: value for name, value in filed(tmp_path / "whole").items() if name in tiny}, tiny)
    assert json.loads((tmp_path / "whole" / "preprocessor_config.json").read_text())["size"] == 56


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_lora_is_what_peft_writes(golden: Path, tmp_path: Path, form: str) -> None:
    peft = pytest.importorskip("peft")
    base = write.language_model(tmp_path / "base", golden)
    written = write.lora(
        tmp_path / "lora", golden, base.folder, ecg_tower=tmp_path / "coca.pt", form=form, rank=3, alpha=6
    )
    adapter = load(tmp_path / "lora" / f"adapter_model.{form}")
    settings = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    model = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    kinds = peft.LoraConfig(r=3, lora_alpha=6, target_modules=settings["target_modules"], task_type="CAUSAL_LM")
    theirs = peft.get_peft_model_state_dict(peft.get_peft_model(model, kinds))
    assert shapes_of(adapter) == shapes_of(theirs)
    assert peft.PeftConfig.from_pretrained(tmp_path / "lora").lora_alpha == 6
    rest = load(tmp_path / "lora" / "non_lora_trainables.bin")
    assert all(name.startswith("base_model.model.model.") for name in rest)
    assert {name.split(".")[3] for name in rest} == {"mm_projector", "ecg_projector"}
    assert_same(adapter | rest, written.state)
    assert written.config["mm_ecg_tower"] == str(tmp_path / "coca.pt")
    assert written.config["mm_vision_tower"] == str(golden / "clip_tiny")


def test_lora_over_a_gem_with_tuned_towers(golden: Path, tmp_path: Path) -> None:
    base = write.gem_golden(tmp_path / "gem", golden)
    tuned = ("mm_projector", "ecg_projector", "vision_tower", "ecg_tower", "image_newline")
    written = write.lora(tmp_path / "lora", golden, base.folder, prefix=False, tuned=tuned, ecg_pairs=True)
    rest = shapes_of(load(tmp_path / "lora" / "non_lora_trainables.bin"))
    assert rest.pop("model.image_newline") == (64,)
    assert rest.items() <= shapes_of(base.state).items()
    assert {name.split(".")[1] for name in rest} == set(tuned) - {"image_newline"}
    pairs = [name for name in written.state if name.endswith(".lora_A.weight")]
    assert sum(".ecg_tower.ecg_tower." in name for name in pairs) == 2 * 3
    assert {name.removeprefix("base_model.model.").replace(".lora_A.", ".") for name in pairs} <= base.state.keys()
    assert Path(written.config["mm_vision_tower"]) == base.folder / "clip_tiny"


def test_projectors_only(golden: Path, tmp_path: Path) -> None:
    base = write.language_model(tmp_path / "base", golden, family="qwen2")
    with_ecg = write.projectors(tmp_path / "both", golden, base.folder, ecg_tower="coca.pt")
    assert_same(load(tmp_path / "both" / "mm_projector.bin"), load(tmp_path / "both" / "ecg_projector.bin"))
    assert with_ecg.state["model.ecg_projector.weight"].shape == (48, 64)
    assert with_ecg.state["model.mm_projector.2.weight"].shape == (32, 32)
    without = write.projectors(tmp_path / "image", golden, base.folder)
    assert not (tmp_path / "image" / "ecg_projector.bin").exists()
    assert not any("ecg" in name for name in [*without.state, *without.config])


def test_ecg_coca_pickle(golden: Path, tmp_path: Path) -> None:
    prefix = "model.ecg_tower.ecg_tower."
    whole = load_file(golden / "tiny_gem_state.safetensors")
    tower = {name.removeprefix(prefix): value for name, value in whole.items() if name.startswith(prefix)}
    write.ecg_coca_pt(tmp_path / "coca.pt", golden, state=tower)
    pickled = torch.load(tmp_path / "coca.pt", weights_only=True)
    assert {"epoch", "name", "state_dict", "optimizer"} == pickled.keys()
    assert all(name.startswith("module.") for name in pickled["state_dict"])
    inside = {
        name.removeprefix("module.ecg."): v
        for name, v in pickled["state_dict"].items()
        if name.startswith("module.ecg.")
    }
    assert_same(inside, tower)
    write.ecg_coca_pt(tmp_path / "unsafe.pt", golden, unsafe=True)
    with pytest.raises(pickle.UnpicklingError, match="Namespace"):
        torch.load(tmp_path / "unsafe.pt", weights_only=True)


@pytest.mark.parametrize(
    ("kind", "gigabytes"), [("pulse", 14.13), ("gem", 14.30), ("llava-1.6-vicuna", 14.13), ("llava-1.6-mistral", 15.13)]
)
def test_seven_b(tmp_path: Path, kind: str, gigabytes: float) -> None:
    assert kind in SEVEN_B
    shapes = seven_b(kind)
    assert (
        round(2 * sum(math.prod(shape) for shape in shapes.values()) / 1e9, 2) == gigabytes
    )  # 14.13: PULSE's, by the reference
    folder = sparse_seven_b(tmp_path, kind)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert index["weight_map"].keys() == shapes.keys()
    files = sorted(folder.glob("model-*.safetensors"))
    assert [file.name for file in files] == sorted(set(index["weight_map"].values()))
    assert (
        index["metadata"]["total_size"]
        < sum(file.stat().st_size for file in files)
        < index["metadata"]["total_size"] + 1e6
    )
    assert sum(file.stat().st_blocks for file in files) * 512 < 1e6
    name = "model.vision_tower.vision_tower.vision_model.embeddings.position_embedding.weight"
    with safe_open(folder / index["weight_map"][name], "pt") as file:
        assert tuple(file.get_slice(name).get_shape()) == shapes[name] == (577, 1024)
    if kind == "gem":
        assert sum(name.startswith("model.ecg_tower.ecg_tower.") for name in shapes) == 152
        assert shapes["model.ecg_projector.weight"] == (1024, 768)
        assert shapes["model.ecg_tower.ecg_tower.positional_embedding"] == (101, 768)
