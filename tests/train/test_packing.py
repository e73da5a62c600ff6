"""``--packing``: the step over a pack is the step over its samples."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from llava_ecg.engine.attention import choose, strictly
from llava_ecg.train.run import main

from .test_run import flags, losses, parts, toy  # noqa: F401  (fixtures)


def test_a_step_over_packs_is_the_step_over_samples(
    toy: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    step = ("--max_steps", "2", "--optim", "sgd", "--learning_rate", "0.1", "--max_grad_norm", "0")
    records = json.loads((toy / "train.json").read_text())[:4]
    for key in ("ecg", "image"):
        records[1].pop(key, None)
    records[1]["conversations"] = [{"from": "human", "value": "Say yes."}, {"from": "gpt", "value": "yes, a long yes"}]
    data = tmp_path / "train.json"
    data.write_text(json.dumps(records))
    given = (*step, "--data_path", str(data), "--model_max_length", "1500")
    assert main([*flags(toy, parts, tmp_path / "padded", *given), "--per_device_train_batch_size", "4"]) == 0
    padded = losses(capsys.readouterr().out)
    both = ("--packing", "--per_device_train_batch_size", "4")
    assert main([*flags(toy, parts, tmp_path / "packed", *given), *both]) == 0
    packed = losses(capsys.readouterr().out)
    assert packed == pytest.approx(padded, abs=2e-3)
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("padded", "packed"))
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, atol=1e-5, rtol=1e-4)
    ground = json.loads((tmp_path / "packed" / "run.json").read_text())
    assert ground["attention"] == choose("varlen", "cpu", torch.float32)
    config = json.loads((tmp_path / "packed" / "config.json").read_text())
    assert "llava_ecg_packed" not in json.dumps(config)


def test_with_an_adapter_and_dropout_of_modalities(
    toy: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("peft")
    more = ("--packing", "--lora_enable", "--lora_r", "4", "--modality_dropout", "0.5", "--gradient_checkpointing")
    assert main([*flags(toy, parts, tmp_path / "out", *more), "--per_device_train_batch_size", "1"]) == 0
    said = losses(capsys.readouterr().out)
    assert said[-1] < said[0]


def test_grouping_by_length_beside_it_is_refused(
    toy: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(flags(toy, parts, tmp_path / "out", "--packing", "--group_by_modality_length", "True")) == 2
    assert "--packing leaves no padding" in capsys.readouterr().err


@pytest.fixture
def lenient_afterwards() -> Iterator[None]:
    yield
    strictly(False)


@pytest.mark.usefixtures("lenient_afterwards")
def test_flash_attention_or_nothing(toy: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags(toy, parts, tmp_path / "out", "--packing", "--strict_attention", "--use_cpu")) == 2
    assert "no flash kernel for attention (varlen) in float32 on cpu" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*"))
    assert main(flags(toy, parts, tmp_path / "out", "--strict_attention")) == 2
    assert "--strict_attention is about packs" in capsys.readouterr().err


def test_in_bfloat16_alone(toy: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ("--packing", "--pure_bf16", "--selective_checkpointing", "--per_device_train_batch_size", "1")
    assert main([*flags(toy, parts, tmp_path / "out", *more)]) == 0
    said = losses(capsys.readouterr().out)
    assert said[-1] < said[0]
    saved = load_file(tmp_path / "out" / "model.safetensors")
    kinds = {name.split(".")[0]: value.dtype for name, value in saved.items()}
    assert kinds == {"language_model": torch.bfloat16, "projectors": torch.float32, "towers": torch.float32}


def test_states_in_eight_bits(toy: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """bitsandbytes' AdamW beside torch's: nearly the same losses, states in a byte each, and a run that goes on."""
    pytest.importorskip("bitsandbytes")
    said = []
    for name in ("adamw_torch", "adamw_bnb_8bit"):
        more = ("--packing", "--per_device_train_batch_size", "1", "--optim", name, "--max_steps", "4")
        out = tmp_path / name
        assert main([*flags(toy, parts, out, *more), "--save_strategy", "steps", "--save_steps", "2"]) == 0
        said.append(losses(capsys.readouterr().out))
    assert said[1] == pytest.approx(said[0], rel=0.02)
    assert said[1][-1] < said[1][0]
    kept = torch.load(out / "checkpoint-2" / "optimizer.pt", weights_only=False)["state"].values()
    states = [each["__bnb_optimizer_quant_state__"]["state1"] for each in kept]
    large = [each for each in states if each.numel() >= 4096]  # smaller ones stay in 32 bits
    assert large
    assert {each.dtype for each in large} == {torch.uint8}
    shutil.rmtree(out / "checkpoint-4")
    assert main([*flags(toy, parts, out, *more), "--save_strategy", "steps", "--save_steps", "2"]) == 0
    assert losses(capsys.readouterr().out) == pytest.approx(said[1][2:], abs=1e-4)


def test_compiled_layers_are_the_same_model(
    toy: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    for name, more in (("plain", ()), ("compiled", ("--torch_compile_backend", "aot_eager"))):
        step = ("--packing", "--max_steps", "2", "--per_device_train_batch_size", "1", *more)
        assert main([*flags(toy, parts, tmp_path / name, *step)]) == 0
        said.append(losses(capsys.readouterr().out))
    assert said[0] == pytest.approx(said[1], abs=2e-3)
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "compiled"))
    assert one.keys() == other.keys()
