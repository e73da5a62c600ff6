"""Towers learn to tell, in pieces; captions say what they tell, they learn to write them, and a language model starts
from the result."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from llava_ecg.ecg.formats import read
from llava_ecg.model.loading import compose, load_projectors, tower_stream
from llava_ecg.train.tiny import align, reading, records, towers
from llava_ecg.train.tiny.captions import FORM, LABEL_WORDS, WORDS, borders_of, caption, captions, read_caption
from llava_ecg.train.tiny.grow import grow, layers_used
from llava_ecg.train.tiny.probe import load_heads, load_probe, writing_loss
from llava_ecg.train.tiny.sets import Pages, Signals, load
from llava_ecg.train.tiny.sources import LABELS
from llava_ecg.train.tiny.targets import OUTPUTS, QUANTITIES, YES_NO, Told

from .test_run import parts  # noqa: F401  (fixture)

FACTS = {
    "heart_rate_bpm": 71.6,
    "rhythm_regular": True,
    "p_present": True,
    "pr_ms": 164.0,
    "qrs_ms": 93.1,
    "qtc_bazett_ms": 418.0,
    "qt_ms": 381.0,
    "axis_deg": -42.0,
}
LIKELY = dict.fromkeys(LABELS, 0.02) | {"NORM": 0.97, "MI": 1.0}
SMALL = {
    "ecg": {"layers": 2, "width": 32, "head_width": 16, "embed_dim": 16},
    "image": {
        "vision_config": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 336,
            "patch_size": 28,
        }
    },
}


def said(facts: dict[str, Any]) -> str:
    return "".join(WORDS[word] for word in caption(facts, LIKELY))


def test_a_caption() -> None:
    assert said(FACTS).startswith(
        " rate072 interval160 width095 total380 corrected420 axis-040 rhythm regular wave yes healthy9 infarction9"
    )
    assert len(caption(FACTS, LIKELY)) == len(FORM) < 101
    assert " axis+180" in said(FACTS | {"axis_deg": 180.0})
    assert " interval---" in said(FACTS | {"p_present": False})
    assert set(LABEL_WORDS) == set(LABELS) and len(set(LABEL_WORDS.values())) == len(LABELS)


def test_a_caption_is_read_as_it_was_written() -> None:
    found = read_caption(caption(FACTS, LIKELY))
    assert found["heart_rate_bpm"] == 72 and found["axis_deg"] == -40 and found["p_present"] is True
    assert (found["NORM"], found["STTC"]) == (9, 0)
    found = read_caption(caption(FACTS | {"p_present": False, "rhythm_regular": False}, LIKELY))
    assert (found["pr_ms"], found["rhythm_regular"]) == (None, False)


def told(values: dict[str, float], yes: dict[str, float]) -> Told:
    """A probe that is sure of these values and has these logits."""
    heads = [
        10 * quantity.soft(torch.tensor([values[quantity.name]])).log().clamp(min=-9)
        if quantity.name in values
        else torch.zeros(1, len(quantity.centres))
        for quantity in QUANTITIES
    ]
    heads.append(torch.tensor([[yes.get(name, -4.0) for name in YES_NO]]))
    out = torch.cat(heads, dim=1)
    assert out.shape == (1, OUTPUTS)
    return Told(out, torch.zeros(1, 1, 1, 4))


def test_captions_say_what_a_probe_tells() -> None:
    values = {quantity.name: float(FACTS[quantity.name]) for quantity in QUANTITIES}
    found = told(values, {"rhythm_regular": 3.0, "p_present": 2.0, "MI": 0.4})
    row = read_caption(captions(found, [0.0] * len(LABELS))[0].tolist())
    assert row["heart_rate_bpm"] == pytest.approx(72, abs=2) and row["qt_ms"] == pytest.approx(380, abs=10)
    assert row["rhythm_regular"] and row["p_present"] and row["MI"] == 5 and row["HYP"] == 0
    borders = [1.0 if name == "MI" else 0.0 for name in LABELS]
    assert read_caption(captions(found, borders)[0].tolist())["MI"] == 3


def test_borders_are_where_f1_is_best() -> None:
    heads = torch.zeros(6, OUTPUTS)
    column = len(YES_NO) - len(LABELS)
    heads[:, -len(YES_NO) + column] = torch.tensor([3.0, 2.0, 1.0, 0.0, -1.0, -2.0])
    targets = torch.full((6, len(QUANTITIES) + len(YES_NO)), math.nan)
    targets[:, len(QUANTITIES) + column] = torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0, 0.0])
    found = borders_of(Told(heads, torch.zeros(6, 1, 1, 4)), targets)
    assert found[0] == -0.5  # F1 6/7 there, 4/5 above 1.5
    assert found[1:] == [0.0] * (len(LABELS) - 1)


def test_the_loss_is_small_only_at_the_wanted_words() -> None:
    words = torch.eye(len(WORDS))
    wanted = torch.tensor([caption(FACTS, LIKELY), caption(FACTS | {"axis_deg": 90.0}, LIKELY)])
    cost, right = align.caption_loss(words[wanted], wanted, words)
    assert right.all()
    worse, _ = align.caption_loss(words[wanted].roll(1, dims=1), wanted, words)
    assert worse > cost + 1


@pytest.mark.parametrize("stream", ["ecg", "image"])
def test_a_grown_tower_gives_the_same_tokens_at_first(small: None, tmp_path: Path, stream: str) -> None:
    torch.manual_seed(0)
    probe = towers.build_probe(stream)
    towers.save_probe(probe, stream, SMALL[stream], tmp_path / "own")
    grow(tmp_path / "own", tmp_path / "grown", 2)
    found = tower_stream(tmp_path / "grown")
    grown: Any = towers.build_tower(found.tower, found.tower_config)
    grown.load_state_dict(load_file(tmp_path / "grown" / "model.safetensors"))
    assert layers_used(grown) == layers_used(probe.tower) + 2
    values = torch.randn(2, *((12, 5000) if stream == "ecg" else (3, 336, 336)))
    with torch.no_grad():
        assert torch.equal(grown.eval()(values), probe.tower.eval()(values))  # type: ignore[operator]
    grown(values).square().mean().backward()
    last = [name for name, value in grown.named_parameters() if value.grad is not None and value.grad.abs().sum() > 0]
    assert any("out_proj" in name for name in last) and any("fc2" in name or "c_proj" in name for name in last)


def test_a_tower_learns_to_write_what_its_heads_say(small: None, made: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    probe = towers.build_probe("ecg")
    values = torch.randn(4, 12, 5000)
    costs = []
    optimizer = torch.optim.AdamW([*probe.words.parameters(), *probe.tower.parameters()], lr=3e-3)  # type: ignore[union-attr]
    heads = probe.heads[1].weight.clone()  # type: ignore[union-attr, operator]
    for _ in range(40):
        cost = writing_loss(probe, probe(values))
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        costs.append(cost.item())
    assert costs[-1] < 0.5 * costs[0]
    assert probe.heads[1].weight.grad is None and torch.equal(probe.heads[1].weight, heads)  # type: ignore[union-attr, operator]


def test_layers_are_added_to_what_has_learned(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tower("ecg", made, tmp_path / "a", "--grow", "1") == 2
    assert "give it with --init" in capsys.readouterr().err


def test_words_must_be_tokens(letters: Any, parts: Path) -> None:  # noqa: F811
    stream = {"ecg": tower_stream(parts / "ecg")}
    with pytest.raises(align.InputError, match="the tokenizer splits ' rate'"):
        align.word_embeddings(compose(str(parts / "base"), stream, template="plain"), letters)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of simulated records."""
    out = tmp_path_factory.mktemp("set")
    assert records.main([str(out), "--simulated", "60", "--processes", "1"]) == 0
    return out


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, config in SMALL.items():
        monkeypatch.setitem(towers.SIZES[stream], "tower_config", config)


def tower(stream: str, made: Path, out: Path, *more: str) -> int:
    words = ["--data", str(made), "--out", str(out), "--batch_size", "8", "--pages", "12"]
    return towers.main([stream, *words, *more])


def test_a_tower_learns_and_goes_on(
    small: None, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ecg"
    assert tower("ecg", made, out, "--minutes", "0.12", "--piece", "0.06", "--report_every", "20") == 0
    said = capsys.readouterr().out
    assert "the same command goes on" in said and not (out / "model.safetensors").exists()
    before = torch.load(out / "state.pt", weights_only=True)
    assert tower("ecg", made, out, "--minutes", "0.12", "--report_every", "20") == 0
    said = capsys.readouterr().out
    after = torch.load(out / "state.pt", weights_only=True)
    assert after["steps"] > before["steps"] > 0
    assert 7.2 <= after["passed"] < 30 and before["passed"] >= 3.6
    assert '"simulated": {"heart_rate_bpm"' in said
    probe = towers.build_probe("ecg")
    load_probe(probe, out)
    assert torch.equal(probe.waves.weight, load_file(out / "heads.safetensors")["waves.weight"])
    assert torch.equal(probe.tower.conv1.weight, load_file(out / "model.safetensors")["conv1.weight"])  # type: ignore[union-attr]
    begun = ["--init", str(out), "--minutes", "0.001", "--learning_rate", "0"]
    assert tower("ecg", made, tmp_path / "next", *begun) == 0
    again = load_file(tmp_path / "next" / "model.safetensors")["conv1.weight"]
    assert torch.equal(again, load_file(out / "model.safetensors")["conv1.weight"])
    assert tower("ecg", made, tmp_path / "none", "--init", str(made)) == 2
    assert "holds no tower" in capsys.readouterr().err


def test_pages_are_taught_by_the_signals_tower(
    small: None, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tower("ecg", made, tmp_path / "ecg", "--minutes", "0.02") == 0
    pages = load(made, towers.build_probe("image").tower, towers.SIZES["image"], 12, 0)
    assert isinstance(pages, Pages)
    before = pages.targets.clone()
    towers.taught(pages, made, tmp_path / "ecg")
    rows, first = pages.rows("train"), len(QUANTITIES)
    assert torch.equal(pages.targets[:, :first].nan_to_num(-1), before[:, :first].nan_to_num(-1))
    yes, known = pages.targets[rows, first:], ~before[rows, first:].isnan()
    assert ((yes > 0) & (yes < 1)).all() and ((yes - before[rows, first:]).abs()[known] < 0.5).all()
    assert torch.equal(pages.targets[pages.rows("val")].nan_to_num(-1), before[pages.rows("val")].nan_to_num(-1))
    assert tower("cnn", made, tmp_path / "cnn", "--teacher", str(tmp_path / "ecg")) == 2
    assert "--teacher is for a tower" in capsys.readouterr().err


def test_the_plain_cnn_is_trained_alike_and_followed(
    small: None, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tower("cnn", made, tmp_path / "cnn", "--minutes", "0.03") == 0
    assert '"stream": "cnn"' in capsys.readouterr().out
    cnn = towers.build_probe("cnn")
    load_probe(cnn, tmp_path / "cnn")
    assert torch.equal(cnn.heads[1].weight, load_file(tmp_path / "cnn" / "heads.safetensors")["heads.1.weight"])
    words = ("--teacher", str(tmp_path / "cnn"), "--minutes", "0.06", "--piece", "0.03")
    for _ in range(2):
        assert tower("ecg", made, tmp_path / "ecg", *words) == 0
    assert load_file(tmp_path / "ecg" / "model.safetensors").keys() == build_ecg().tower.state_dict().keys()
    assert tower("ecg", made, tmp_path / "a", "--teacher", str(tmp_path / "ecg")) == 2
    assert "holds no heads of this kind of tower: size mismatch" in capsys.readouterr().err


def build_ecg() -> towers.Probe:
    torch.manual_seed(0)
    return towers.build_probe("ecg")


def test_a_tower_comes_near_the_tokens_that_it_follows(small: None, tmp_path: Path) -> None:
    probe, cnn = build_ecg(), towers.build_probe("cnn")
    towers.save_probe(cnn, "cnn", {}, tmp_path)
    follower = towers.follow(probe, tmp_path)
    values, before = torch.randn(2, 12, 5000), {name: value.clone() for name, value in cnn.tower.state_dict().items()}
    unknown = torch.full((2, len(QUANTITIES) + len(YES_NO)), math.nan)
    wanted, targets = follower.ask(values, unknown)
    assert torch.equal(wanted, cnn.eval().tower(values)) and targets[:, : len(QUANTITIES)].isnan().all()
    assert torch.equal(targets[:, len(QUANTITIES) :], torch.sigmoid(cnn.tell(wanted).yes))
    _, half = follower.ask(values, torch.ones_like(unknown))
    torch.testing.assert_close(half[:, len(QUANTITIES) :], 0.5 + targets[:, len(QUANTITIES) :] / 2)
    optimizer = torch.optim.Adam([*probe.tower.parameters(), *follower.parameters()], 3e-3)
    costs = []
    for _ in range(30):
        probe(values)
        cost = follower.apart(wanted)
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        costs.append(cost.item())
    assert costs[0] == pytest.approx(1, abs=0.5) and costs[-1] < 0.6 * costs[0]
    assert all(torch.equal(value, before[name]) for name, value in cnn.tower.state_dict().items())
    assert len(list(follower.parameters())) == 2


def test_too_few_records(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert towers.main(["ecg", "--data", str(made), "--out", str(tmp_path / "a"), "--batch_size", "100"]) == 2
    assert "has 57 records for training" in capsys.readouterr().err
    assert towers.main(["ecg", "--data", str(tmp_path), "--out", str(tmp_path / "b")]) == 2
    assert "make the set" in capsys.readouterr().err


def test_towers_learn_to_write(
    small: None,
    made: Path,
    parts: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(parts / "base", tmp_path / "base")
    vocabulary = {word: number for number, word in enumerate((*WORDS, "[UNK]"))}
    model = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=model, unk_token="[UNK]", pad_token="[UNK]").save_pretrained(
        tmp_path / "base"
    )
    for stream in ("ecg", "image"):
        assert tower(stream, made, tmp_path / "plain" / stream, "--minutes", "0.02") == 0
        more = ["--init", str(tmp_path / "plain" / stream), "--grow", "1", "--write", "--minutes", "0.05"]
        assert tower(stream, made, tmp_path / stream, *more) == 0
        assert '"words right"' in capsys.readouterr().out
    words = ["--data", str(made), "--ecg_tower", str(tmp_path / "ecg"), "--vision_tower", str(tmp_path / "image")]
    words += [
        "--base",
        str(tmp_path / "base"),
        "--batch_size",
        "8",
        "--pages",
        "12",
        "--versions",
        "1",
        "--out",
        str(tmp_path / "out"),
    ]
    plain = [word.replace(str(tmp_path / "ecg"), str(tmp_path / "plain" / "ecg")) for word in words]
    assert align.main(plain) == 2
    assert "has not learned to write captions; train it on with --write" in capsys.readouterr().err
    assert align.main([*words, "--minutes", "0.1", "--piece", "0.05"]) == 0
    assert "the same command goes on" in capsys.readouterr().out
    assert align.main([*words, "--minutes", "0.1"]) == 0
    assert '"words right"' in capsys.readouterr().out
    streams = {
        "ecg": tower_stream(tmp_path / "out" / "ecg", through="image"),
        "image": tower_stream(tmp_path / "out" / "image", projector="mlp2x_gelu"),
    }
    composed = compose(str(tmp_path / "base"), streams, template="plain")
    load_projectors(composed, tmp_path / "out" / "projectors.safetensors")
    stored = load_file(tmp_path / "out" / "projectors.safetensors")
    assert torch.equal(composed.projectors["image"][2].weight, stored["image.2.weight"])
    before, after = (load_file(tmp_path / folder / "model.safetensors") for folder in ("ecg", "out/ecg"))
    assert before.keys() == after.keys() and all(torch.equal(after[name], value) for name, value in before.items())
    assert len([name for name in after if "resblocks.2." in name]) == 12  # a layer more than the plain tower
    written(made, tmp_path, capsys, monkeypatch)


def written(made: Path, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Conversations are written from what the towers' heads tell, each with the files that it shows."""
    words = ["--data", str(made), "--ecg_tower", str(folder / "ecg"), "--vision_tower", str(folder / "image")]
    read_by = reading.Reader.read

    def told(self: reading.Reader, source: Any) -> dict[str, Any]:
        stream = "image" if isinstance(source, Image.Image) else "ecg"
        assert read_by(self, source).keys() == {**FACTS, **dict.fromkeys(LABELS)}.keys()
        return {**FACTS, **dict.fromkeys(LABELS, 0), "heart_rate_bpm": {"ecg": 150.0, "image": 51.0}[stream]}

    monkeypatch.setattr(reading.Reader, "read", told)
    assert reading.main([*words, "--count", "12", "--out", str(folder / "lines")]) == 0
    assert "12 conversations" in capsys.readouterr().out
    lines = json.loads((folder / "lines" / "train.json").read_text())
    kinds = [("ecg" in line, "image" in line) for line in lines]
    assert set(kinds) == {(True, False), (True, True), (False, True)}
    for line in lines:
        said = " ".join(turn["value"] for turn in line["conversations"])
        rate = 51 if "image" in line else 150  # the page's where there is one
        assert f"{rate} bpm" in said or "bpm" not in said or "Measured: " in said
        if "ecg" in line:
            assert read(folder / "lines" / line["ecg"]).duration == 10.0
        if "image" in line:
            assert (folder / "lines" / line["image"]).stat().st_size > 10_000
    (folder / "image" / "heads.safetensors").unlink()
    assert reading.main([*words, "--out", str(folder / "other")]) == 2
    assert "heads.safetensors is missing" in capsys.readouterr().err


def test_rate_and_regularity_of_signal_and_page_are_the_page_s() -> None:
    signal = read_caption(caption(FACTS, LIKELY))
    page = read_caption(caption(FACTS | {"heart_rate_bpm": 140.0, "rhythm_regular": False, "p_present": False}, LIKELY))
    both = reading.joined(signal, page)
    assert (both["heart_rate_bpm"], both["rhythm_regular"]) == (140, False)
    assert (both["p_present"], both["pr_ms"], both["qrs_ms"]) == (True, 160, 95)
    assert reading.joined(page, signal)["pr_ms"] is None
    assert reading.joined(signal | {"pr_ms": None}, page | {"pr_ms": 180.0})["pr_ms"] == 180


def test_records_with_rare_labels_are_drawn_often() -> None:
    count, rng = 400, np.random.default_rng(0)
    targets = torch.full((count, len(QUANTITIES) + len(YES_NO)), torch.nan)
    targets[:, len(QUANTITIES) :] = 0.0
    for row, label in enumerate(reading.RARE):
        targets[row * 2 : row * 2 + 2, len(QUANTITIES) + YES_NO.index(label)] = 1.0
    names, splits = [str(row) for row in range(count)], ["train"] * (count - 1) + ["test"]
    records = Signals(names, splits, [row % 2 == 1 for row in range(count)], torch.zeros(count), targets)
    rows = np.bincount([reading.drawn(records, rng) for _ in range(3000)], minlength=count)
    for row in range(0, 2 * len(reading.RARE), 2):
        assert abs(rows[row : row + 2].sum() / 3000 - reading.OFTEN / len(reading.RARE)) < 0.03
    assert abs(rows[::2].sum() / 3000 - reading.REAL) < 0.03 and rows[-1] == 0


def test_a_tower_without_heads_is_refused(parts: Path, made: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    with pytest.raises(align.InputError, match="heads.safetensors is missing"):
        load_heads(towers.build_probe("ecg"), parts / "ecg")


def test_damaged_files_are_a_sentence(
    small: None, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    towers.save_probe(towers.build_probe("cnn"), "cnn", {}, tmp_path / "cnn")
    for name, fault in (("model.safetensors", "holds no tower"), ("heads.safetensors", "holds no heads")):
        (tmp_path / "cnn" / name).write_bytes(b"no tensors")
        assert tower("ecg", made, tmp_path / "a", "--teacher", str(tmp_path / "cnn")) == 2
        said = capsys.readouterr().err
        assert fault in said and said.count("\n") == 1
    for content in ("[1, 2]", '{"a": 1}', "[]", "{", '[{"name": "a"}]'):
        damaged = tmp_path / "set"
        shutil.copytree(made, damaged, dirs_exist_ok=True)
        (damaged / "records.json").write_text(content)
        assert tower("ecg", damaged, tmp_path / "a") == 2
        said = capsys.readouterr().err
        assert "is damaged" in said and said.count("\n") == 1
