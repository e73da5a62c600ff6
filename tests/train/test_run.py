"""``python -m llava_ecg.train`` on a tiny model and a toy data set: it learns, what is frozen stays, what is saved
opens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from llava_ecg.model.loading import open_checkpoint
from llava_ecg.model.saving import save_tower
from llava_ecg.model.towers.clip import ClipTower
from llava_ecg.model.towers.ecg_coca import EcgCoCaTower
from llava_ecg.train.run import main
from playground import make_toy

ECG = {"layers": 1, "width": 16, "head_width": 8, "embed_dim": 8}
CLIP = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six simulated records."""
    out = tmp_path_factory.mktemp("toy")
    assert make_toy.main([str(out), "--count", "6", "--seed", "3", "--test-share", "0.34"]) == 0
    return out


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, letters: Any) -> Path:
    """A tiny language model and two towers, in folders."""
    out = tmp_path_factory.mktemp("parts")
    torch.manual_seed(0)
    text = {
        "vocab_size": 128,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    LlamaForCausalLM(LlamaConfig(**text, tie_word_embeddings=True)).save_pretrained(out / "base")
    letters.save_pretrained(out / "base")
    save_tower(EcgCoCaTower(**ECG), "ecg_coca", ECG, {"leads": "standard", "rate": 500}, out / "ecg")
    save_tower(ClipTower(CLIP), "clip", {"vision_config": CLIP}, {"aspect": "squash"}, out / "image")
    return out


def flags(toy: Path, parts: Path, out: Path, *more: str) -> list[str]:
    new = ["--model_name_or_path", str(parts / "base"), "--version", "v1", "--ecg_tower", str(parts / "ecg")]
    return [
        *new,
        *("--vision_tower", str(parts / "image"), "--data_path", str(toy / "train.json"), "--ecg_folder", str(toy)),
        *(
            "--render_pages",
            "--output_dir",
            str(out),
            "--use_cpu",
            "--report_to",
            "none",
            "--logging_steps",
            "1",
            "--disable_tqdm",
            "true",
        ),
        *(
            "--per_device_train_batch_size",
            "2",
            "--learning_rate",
            "1e-2",
            "--max_steps",
            "4",
            "--save_strategy",
            "no",
            *more,
        ),
    ]


def losses(text: str) -> list[float]:
    return [
        float(json.loads(line.replace("'", '"'))["loss"]) for line in text.splitlines() if line.startswith("{'loss'")
    ]


def test_lora(toy: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("peft")
    lora = (
        "--lora_enable",
        "--lora_r",
        "4",
        "--lora_alpha",
        "8",
        "--modality_dropout",
        "0.5",
        "--mm_projector_lr",
        "1e-3",
    )
    assert main(flags(toy, parts, tmp_path / "out", *lora)) == 0
    out = capsys.readouterr().out
    assert losses(out)[-1] < losses(out)[0]
    report = {
        line.split()[0]: line.split()[1:]
        for line in out.splitlines()
        if "." in line.split(" ")[0] or line.startswith("language")
    }
    assert report["towers.ecg"][1] == "0"
    assert report["projectors.ecg"][0] == report["projectors.ecg"][1]
    checkpoint = open_checkpoint(tmp_path / "out")
    frozen = load_file(parts / "ecg" / "model.safetensors")
    assert all(torch.equal(value, frozen[name]) for name, value in checkpoint.model.towers["ecg"].state_dict().items())
    base = load_file(parts / "base" / "model.safetensors")["model.layers.0.self_attn.q_proj.weight"]
    assert not torch.equal(checkpoint.model.language_model.model.layers[0].self_attn.q_proj.weight, base)
    assert checkpoint.model.config.streams["ecg"]["through"] == "image"


def test_a_lora_is_gone_on_with(toy: Path, parts: Path, tmp_path: Path) -> None:
    lora = ("--lora_enable", "--lora_r", "4", "--lora_alpha", "8")
    assert main(flags(toy, parts, tmp_path / "first", *lora, "--save_dtype", "float16")) == 0
    first = load_file(tmp_path / "first" / "adapter" / "adapter_model.safetensors")
    assert {value.dtype for value in first.values()} == {torch.float16}
    go_on = flags(toy, parts, tmp_path / "second", *lora)
    cut = go_on.index("--ecg_tower")
    assert main(["--model_name_or_path", str(tmp_path / "first"), *go_on[cut + 4 :]]) == 0
    second = load_file(tmp_path / "second" / "adapter" / "adapter_model.safetensors")
    name = next(name for name in first if "lora_A" in name)
    assert first.keys() == second.keys()
    assert not torch.equal(first[name].float(), second[name].float())
    assert (
        torch.nn.functional.cosine_similarity(first[name].float().flatten(), second[name].float().flatten(), dim=0)
        > 0.5
    )
    assert open_checkpoint(tmp_path / "first").model.config.base is None  # merged, it would be saved whole


def test_projectors_alone_then_everything(
    toy: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(flags(toy, parts, tmp_path / "first", "--tune_mm_mlp_adapter")) == 0
    first = open_checkpoint(tmp_path / "first")
    assert first.model.config.base == str(parts / "base")
    assert not (tmp_path / "first" / "adapter").exists()
    go_on = flags(toy, parts, tmp_path / "second", "--unfreeze_ecg_tower", "--learning_rate", "1e-3")
    cut = go_on.index("--ecg_tower")
    go_on = ["--model_name_or_path", str(tmp_path / "first"), *go_on[cut + 4 :]]
    assert main(go_on) == 0
    second = open_checkpoint(tmp_path / "second")
    assert second.model.config.base is None
    for part in ("towers.ecg.conv1.weight", "projectors.image.0.weight", "language_model.model.norm.weight"):
        assert not torch.equal(second.model.state_dict()[part], first.model.state_dict()[part])
    assert torch.equal(
        *(
            model.towers["image"].state_dict()[next(iter(model.towers["image"].state_dict()))]
            for model in (first.model, second.model)
        )
    )


def test_mistakes_are_one_sentence(toy: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = flags(toy, parts, tmp_path / "out")
    for change, fault in (
        (["--lora_enabel", "true"], "unknown flag --lora_enabel; did you mean --lora_enable"),
        (["--version", "v7"], "unknown template 'v7'"),
        (["--ecg_folder", str(tmp_path)], "'000000': missing"),
        (["--ecg_tower", str(tmp_path)], "holds no tower"),
        (["--data_path", str(tmp_path / "none.json")], "can't read"),
        (["--model_max_length", "20"], "reach to place"),
    ):
        assert main([*good, *change]) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("llava_ecg.train: ")
        assert fault in error
