"""What is wrong with a checkpoint is said in one sentence that names the file; random bytes run nothing and hang
nowhere."""

from __future__ import annotations

import json
import pickle
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import llava_ecg
from llava_ecg.cli import main
from llava_ecg.errors import InputError
from llava_ecg.model.loading import open_checkpoint
from tests.model import released as write


def refused(folder: Path, **more: Any) -> str:
    """The sentence; anything but an InputError is a fault."""
    with pytest.raises(InputError) as caught:
        open_checkpoint(folder, **more)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert len(sentence) < 4000
    return sentence


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_missing_left_over_and_mis_shaped_are_all_listed(golden: Path, tmp_path: Path) -> None:
    write.gem(tmp_path / "x", golden)
    path = tmp_path / "x" / "model.safetensors"
    state = load_file(path)
    del state["model.ecg_projector.bias"]
    state["model.vision_resampler.weight"] = torch.zeros(2)
    state["model.norm.weight"] = torch.zeros(7)
    save_file(state, path)
    sentence = refused(tmp_path / "x")
    assert "missing projectors.ecg.bias" in sentence
    assert "left over language_model.model.vision_resampler.weight" in sentence
    assert "language_model.model.norm.weight is 7 in model.safetensors and 64 in the model" in sentence
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = open_checkpoint(tmp_path / "x", strict=False).model
    assert any("3 tensors do not fit" in str(warning.message) for warning in said)
    assert not any(value.is_meta for value in model.parameters())
    assert torch.equal(model.projectors["ecg"].weight, state["model.ecg_projector.weight"])
    for layer in range(3):
        for part in ("q_proj", "k_proj", "v_proj", "o_proj"):
            del state[f"model.layers.{layer}.self_attn.{part}.weight"]
    for layer in range(3):
        for part in ("up_proj", "down_proj", "gate_proj"):
            del state[f"model.layers.{layer}.mlp.{part}.weight"]
    save_file(state, path)
    sentence = refused(tmp_path / "x")
    assert sentence.split("its config: ")[1].count("missing ") == 20
    assert sentence.endswith(", and 4 more")


def test_a_truncated_shard(golden: Path, tmp_path: Path) -> None:
    for form in ("safetensors", "bin"):
        folder = write.gem(tmp_path / form, golden, form=form, shards=3).folder
        shard = sorted(folder.glob(f"*-00002-of-*.{form}"))[0]
        whole = shard.read_bytes()
        shard.write_bytes(whole[: len(whole) // 2])
        assert str(shard) in refused(folder)


def test_an_index_naming_an_absent_file(golden: Path, tmp_path: Path) -> None:
    for form in ("safetensors", "bin"):
        folder = write.gem(tmp_path / form, golden, form=form, shards=2).folder
        shard = sorted(folder.glob(f"*-00002-of-*.{form}"))[0]
        shard.unlink()
        assert shard.name in refused(folder)


def test_a_config_without_weights(golden: Path, tmp_path: Path) -> None:
    folder = write.gem(tmp_path / "x", golden).folder
    (folder / "model.safetensors").unlink()
    assert "has a config.json and no weights" in refused(folder)


def test_a_tokenizer_of_another_model(golden: Path, tmp_path: Path) -> None:
    folder = write.gem(tmp_path / "x", golden).folder
    state = load_file(folder / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        state[name] = state[name][:500].clone()
    save_file(state, folder / "model.safetensors")
    edit(folder / "config.json", vocab_size=500)
    assert "has 512 tokens and the model embeds 500" in refused(folder)


def test_a_checkpoint_that_stands_on_itself(golden: Path, tmp_path: Path) -> None:
    base = write.gem(tmp_path / "base", golden).folder
    one, two = (write.lora(tmp_path / name, golden, base).folder for name in ("one", "two"))
    edit(one / "adapter_config.json", base_model_name_or_path=str(two))
    edit(two / "adapter_config.json", base_model_name_or_path=str(one))
    assert "stands on itself" in refused(one)
    edit(two / "adapter_config.json", base_model_name_or_path=str(base))
    assert "a LoRA over a LoRA" in refused(one)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"model_type": "llava_mpt"}, "llama, mistral and qwen are known"),
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"num_attention_heads": 0}, "num_attention_heads"),
        ({"num_hidden_layers": 2}, "left over language_model.model.layers.2"),
        ({"image_aspect_ratio": "anyres", "image_grid_pinpoints": "none"}, "image_grid_pinpoints"),
        ({"mm_use_im_start_end": True}, "mm_use_im_start_end"),
        ({"mm_vision_select_feature": "all"}, "'all'"),
        ({"open_clip_config": "another"}, "heads can't be read.*another.json"),
        ({"mm_vision_tower": "another"}, "none of OpenAI's.*--vision-tower"),
        ({"tokenizer_model_max_length": "long"}, "'long' tokens at most"),
        ({"llava_ecg": {"streams": {"ecg": 3}}}, "llava_ecg has no streams"),
        ({"llava_ecg": 7}, "llava_ecg has no streams"),
        ({"rope_theta": {}}, "can be built"),
    ],
)
def test_settings_that_can_not_be(change: dict[str, Any], fault: str, golden: Path, tmp_path: Path) -> None:
    folder = write.gem(tmp_path / "x", golden).folder
    edit(folder / "config.json", **change)
    with pytest.raises(InputError, match=fault):
        open_checkpoint(folder)


def test_other_layouts_are_named(golden: Path, tmp_path: Path) -> None:
    folder = tmp_path / "qwen3-vl"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen3_vl", "vision_config": {}}))
    save_file(
        {"model.visual.x": torch.zeros(1), "model.ecg_tower.conv1.weight": torch.zeros(1)}, folder / "model.safetensors"
    )
    assert "'qwen3_vl'" in refused(folder)
    clip = write.clip_folder(tmp_path / "clip", golden).folder
    assert "holds a tower alone" in refused(clip)
    base = write.language_model(tmp_path / "base", golden).folder
    assert "is a language model alone; give it towers" in refused(base)


class Evil:
    """What a pickle can do to who opens it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    "where", ["pytorch_model.bin", "non_lora_trainables.bin", "adapter_model.bin", "mm_projector.bin"]
)
def test_a_pickle_that_would_run_code(where: str, golden: Path, tmp_path: Path) -> None:
    base = write.gem(tmp_path / "base", golden, form="bin").folder
    plain = write.language_model(tmp_path / "plain", golden).folder
    folder = {
        "pytorch_model.bin": lambda: base,
        "mm_projector.bin": lambda: (
            write.projectors(tmp_path / "x", golden, plain, vision_tower=golden / "clip_tiny").folder
        ),
    }.get(where, lambda: write.lora(tmp_path / "x", golden, base).folder)()
    held = torch.load(folder / where, weights_only=True)
    torch.save(held | {"args": Evil(tmp_path / "ran")}, folder / where)
    more = {"base": plain} if where == "mm_projector.bin" else {}
    sentence = refused(folder, **more)
    assert where in sentence
    assert "--trust-pickle" in sentence
    assert "runs code" in sentence
    assert not (tmp_path / "ran").exists()
    open_checkpoint(folder, trust_pickle=True, **more)
    assert (tmp_path / "ran").exists()


def test_code_beside_a_checkpoint_is_never_run(golden: Path, tmp_path: Path) -> None:
    folder = write.gem(tmp_path / "x", golden).folder
    (folder / "evil.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\nclass Evil: pass\n"
    )
    edit(
        folder / "config.json",
        auto_map={"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil", "AutoTokenizer": "evil.Evil"},
    )
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]})
    try:
        open_checkpoint(folder)
    except InputError as error:
        assert "tokenizer" in str(error)
    assert not (tmp_path / "ran").exists()


MAKERS: dict[str, Callable[[Path, Path], Path]] = {
    "gem": lambda folder, golden: write.gem(folder / "x", golden, shards=2).folder,
    "pulse, bin": lambda folder, golden: write.pulse(folder / "x", golden, form="bin", shards=2).folder,
    "lora": lambda folder, golden: write.lora(folder / "x", golden, write.gem(folder / "base", golden).folder).folder,
    "clip outside": lambda folder, golden: (
        write.llava_15(folder / "x", golden, write.clip_folder(folder / "clip", golden).folder).folder
    ),
}


@pytest.mark.parametrize("made", MAKERS)
def test_random_bytes_in_place_of_any_file(made: str, golden: Path, tmp_path: Path) -> None:
    folder = MAKERS[made](tmp_path, golden)
    dice = random.Random(3)
    idle = {
        "training_args.bin",
        "trainer_state.json",
        "mm_projector.bin",
        "coca_tiny.json",
    }  # of no use to who opens the folder
    files = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    assert len(files) > 5
    harmless = []
    for path in files:
        whole = path.read_bytes()
        for junk in (
            dice.randbytes(400),
            b"",
            b"\x80\x04" + dice.randbytes(50),
            b"PK\x03\x04" + dice.randbytes(100),
            b'{"a": [' * 2000,
        ):
            path.write_bytes(junk)
            try:
                llava_ecg.load(folder, device="cpu")
                harmless.append(path.name)
            except InputError as error:
                assert "\n" not in str(error)  # noqa: PT017
        path.write_bytes(whole)
    open_checkpoint(folder)
    assert set(harmless) <= idle | {"special_tokens_map.json", "generation_config.json"}, harmless


def test_the_command_line_says_it_in_one_sentence(
    golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write.gem(tmp_path / "x", golden).folder
    (folder / "model.safetensors").write_bytes(b"nothing")
    page = tmp_path / "page.png"
    from PIL import Image

    Image.new("RGB", (400, 300), "white").save(page)
    assert main(["ask", "--image", str(page), "--model", str(folder), "What?"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("llava-ecg: ")
    assert "model.safetensors" in error
    assert main(["convert", str(folder), str(tmp_path / "y"), "--to", "ours"]) == 2
    assert not (tmp_path / "y").exists()
    shutil.rmtree(folder)
    assert main(["inspect", str(folder)]) == 2


def test_a_pickled_nothing(tmp_path: Path, golden: Path) -> None:
    folder = write.gem(tmp_path / "x", golden, form="bin").folder
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps([1, 2, 3]))
    assert "pytorch_model.bin" in refused(folder)


def test_ours_with_settings_that_can_not_be(golden: Path, tmp_path: Path) -> None:
    from llava_ecg.model.convert import convert

    write.gem(tmp_path / "x", golden)
    convert(tmp_path / "x", tmp_path / "ours", "ours", progress=lambda _: None)
    path = tmp_path / "ours" / "config.json"
    whole = path.read_text()
    for change in (
        {"template": None},
        {"streams": []},
        {"streams": {"ecg": 1}},
        {"text_config": 4},
        {"model_max_length": 1.5},
        {"origin": "x"},
    ):
        edit(path, **change)
        refused(tmp_path / "ours")
        path.write_text(whole)
    open_checkpoint(tmp_path / "ours")
