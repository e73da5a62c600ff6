"""What training begins with may be a pickle that runs code: it is refused with one sentence, and opened where
--trust_pickle says so."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from llava_ecg.model.loading import open_checkpoint
from llava_ecg.train.run import main

from .test_run import flags, parts, toy  # noqa: F401  (fixtures)


def as_pickle(file: Path, name: str) -> Path:
    """The tensors of a safetensors file as a pickle beside it that torch's weights_only refuses; the first file
    goes."""
    state: dict[str, Any] = load_file(file)
    path = file.with_name(name)
    torch.save(state | {"args": argparse.Namespace(lr=1.0)}, path)
    file.unlink()
    return path


def goes_on(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Refused without --trust_pickle, by one sentence; done with it."""
    capsys.readouterr()
    assert main(words) == 2
    captured = capsys.readouterr()
    error = captured.err.strip().splitlines()[-1]
    assert error.startswith("llava_ecg.train: ")
    assert "argparse.Namespace" in error
    assert "--trust-pickle" in error
    assert "{'loss'" not in captured.out
    assert main([*words, "--trust-pickle"]) == 0


def test_an_adapter(toy: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    pytest.importorskip("peft")
    lora = ("--lora_enable", "--max_steps", "1")
    assert main(flags(toy, parts, tmp_path / "first", *lora, "--lora_r", "4", "--learning_rate", "1")) == 0
    adapter = tmp_path / "first" / "adapter" / "adapter_model.safetensors"
    before = load_file(adapter)
    words = flags(toy, parts, tmp_path / "second", *lora, "--learning_rate", "0")
    words = ["--model_name_or_path", str(tmp_path / "first"), *words[words.index("--data_path") :]]
    assert main(words) == 0  # as safetensors, which peft reads as well
    plain = load_file(tmp_path / "second" / "adapter" / "adapter_model.safetensors")
    as_pickle(adapter, "adapter_model.bin")
    goes_on(words, capsys)
    after = load_file(tmp_path / "second" / "adapter" / "adapter_model.safetensors")
    assert before.keys() == plain.keys() == after.keys()
    for name, value in before.items():
        assert torch.equal(after[name], value)
        assert torch.equal(plain[name], value)
    open_checkpoint(tmp_path / "second")


def test_projectors_and_the_language_model_of_a_new_one(
    toy: Path,  # noqa: F811
    parts: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import shutil

    words = flags(toy, parts, tmp_path / "out", "--tune_mm_mlp_adapter", "--max_steps", "1", "--learning_rate", "0")
    assert main(words) == 0
    streams = load_file(tmp_path / "out" / "streams.safetensors")
    projectors = {
        name.removeprefix("projectors."): value + 1 for name, value in streams.items() if name.startswith("projectors.")
    }
    torch.save(projectors | {"args": argparse.Namespace()}, tmp_path / "projectors.bin")
    goes_on([*words, "--pretrain_mm_mlp_adapter", str(tmp_path / "projectors.bin")], capsys)
    for name, value in open_checkpoint(tmp_path / "out").model.projectors.state_dict().items():
        assert torch.equal(value, projectors[name])
    shutil.copytree(parts / "base", tmp_path / "base")
    as_pickle(tmp_path / "base" / "model.safetensors", "pytorch_model.bin")
    goes_on([*words, "--model_name_or_path", str(tmp_path / "base")], capsys)
