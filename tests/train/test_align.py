"""Captions say the facts, towers learn to write them, and a language model starts from the result."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from llava_ecg.model.loading import compose, load_projectors, tower_stream
from llava_ecg.train.tiny import align, towers
from llava_ecg.train.tiny.align import FORM, UNKNOWN, WORDS, caption

from .test_run import parts, toy  # noqa: F401  (fixtures)

FACTS = {
    "heart_rate_bpm": 71.6,
    "rhythm_regular": True,
    "p_present": True,
    "pr_ms": 164.0,
    "qrs_ms": 93.0,
    "qtc_bazett_ms": 418.0,
    "qt_ms": 381.0,
    "axis_deg": -42.0,
}


def said(facts: dict[str, Any]) -> str:
    return "".join("?" if word == UNKNOWN else WORDS[word] for word in caption(facts))


def test_a_caption() -> None:
    assert said(FACTS) == " rate072 regular wave yes interval160 width095 corrected420 total380 axis-040"
    assert len(caption(FACTS)) == len(FORM)
    assert said(FACTS | {"axis_deg": 180.0}).endswith(" axis+180")


def test_what_is_not_known_is_not_said() -> None:
    assert " axis????" in said(FACTS | {"axis_deg": None})
    assert "??? width" in said(FACTS | {"pr_ms": None})
    assert " no interval--- width" in said(FACTS | {"p_present": False, "pr_ms": None})


def test_the_loss_is_small_only_at_the_true_words() -> None:
    words = torch.eye(len(WORDS))
    captions = torch.tensor([caption(FACTS), caption(FACTS | {"axis_deg": None})])
    right = words[captions.clamp(min=0)]
    cost, correct = align.caption_loss(right, captions, words)
    assert correct[captions != UNKNOWN].all()
    worse, _ = align.caption_loss(right.roll(1, dims=1), captions, words)
    assert worse > cost + 1
    elsewhere = right.clone()
    elsewhere[1, -4:] += 9.0  # where nothing is known
    assert torch.equal(align.caption_loss(elsewhere, captions, words)[0], cost)


def test_words_must_be_tokens(letters: Any, parts: Path) -> None:  # noqa: F811
    stream = {"ecg": tower_stream(parts / "ecg")}
    with pytest.raises(align.InputError, match="the tokenizer splits ' rate'"):
        align.word_embeddings(compose(str(parts / "base"), stream, template="plain"), letters)


def test_towers_learn_to_write(
    toy: Path,  # noqa: F811
    parts: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(parts / "base", tmp_path / "base")
    model = Tokenizer(
        models.WordLevel({word: number for number, word in enumerate((*WORDS, "[UNK]"))}, unk_token="[UNK]")
    )
    PreTrainedTokenizerFast(tokenizer_object=model, unk_token="[UNK]", pad_token="[UNK]").save_pretrained(
        tmp_path / "base"
    )
    clip = tmp_path / "image"
    settings = {
        "vision_config": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    }
    settings["vision_config"] |= {"image_size": 84, "patch_size": 14}  # 36 patches: room for the caption
    towers.save_tower(towers.build_tower("clip", settings), "clip", settings, {"aspect": "squash"}, clip)
    words = [
        "--data",
        str(toy),
        "--ecg_tower",
        str(parts / "ecg"),
        "--vision_tower",
        str(clip),
        "--base",
        str(tmp_path / "base"),
    ]
    assert (
        align.main([*words, "--out", str(tmp_path / "out"), "--minutes", "0.05", "--batch_size", "4", "--dpi", "50"])
        == 0
    )
    assert "of the words right" in capsys.readouterr().out
    streams = {
        "ecg": tower_stream(tmp_path / "out" / "ecg", through="image"),
        "image": tower_stream(tmp_path / "out" / "image", projector="mlp2x_gelu"),
    }
    model = compose(str(tmp_path / "base"), streams, template="plain")
    load_projectors(model, tmp_path / "out" / "projectors.safetensors")
    stored = load_file(tmp_path / "out" / "projectors.safetensors")
    assert torch.equal(model.projectors["image"][2].weight, stored["image.2.weight"])
    before = load_file(parts / "ecg" / "model.safetensors")["conv1.weight"]
    assert not torch.equal(load_file(tmp_path / "out" / "ecg" / "model.safetensors")["conv1.weight"], before)
