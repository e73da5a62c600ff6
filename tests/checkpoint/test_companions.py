"""The files beside the weights: a tokenizer as its model was trained with it; none, or a damaged one, is said before
weights are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from llava_ecg.checkpoint import building
from llava_ecg.checkpoint.companions import tokenizer_arguments
from llava_ecg.checkpoint.inspect import inspect
from llava_ecg.cli import main
from llava_ecg.ecg.simulate import Heart, simulate
from llava_ecg.errors import InputError
from llava_ecg.model.convert import convert
from llava_ecg.model.loading import load_tokenizer, open_checkpoint
from llava_ecg.processor import Processor
from tests.model import released as write

TURNS = [
    {"role": "user", "content": "What is the rhythm?"},
    {"role": "assistant", "content": "Sinus rhythm."},
    {"role": "user", "content": "And the rate?"},
]


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def says_legacy(folder: Path, legacy: bool | None) -> None:
    note = folder / "tokenizer_config.json"
    settings = json.loads(note.read_text())
    settings.pop("legacy", None)
    note.write_text(json.dumps(settings if legacy is None else settings | {"legacy": legacy}))


def text_ids(folder: Path) -> list[int]:
    recording, _ = simulate(Heart(rate_bpm=75), seed=0)
    inputs = Processor.from_pretrained(folder)(TURNS, ecg=recording)
    return [int(token) for token, slot in zip(inputs["input_ids"][0], inputs["slots"][0], strict=True) if slot == 0]


@pytest.mark.parametrize(
    ("version", "legacy"), [("4.31.0", True), ("4.37.2", True), (None, True), ("5.0.0", False), ("5.23.0", False)]
)
def test_legacy_that_is_not_said_is_what_the_writer_took(
    version: str | None, legacy: bool, golden: Path, tmp_path: Path
) -> None:
    """99 and 98 tokens: 4.37.2's own slow tokenizer gives the 99."""
    folder = write.gem_golden(tmp_path / "x", golden).folder
    config = json.loads((folder / "config.json").read_text())
    config.pop("transformers_version", None)
    (folder / "config.json").write_text(
        json.dumps(config if version is None else config | {"transformers_version": version})
    )
    known = {}
    for said in (True, False):
        says_legacy(folder, said)
        known[said] = text_ids(folder)
    assert (len(known[True]), len(known[False])) == (99, 98)
    says_legacy(folder, None)
    assert text_ids(folder) == known[legacy]
    ids = [
        tokenizer("</s>USER: a")["input_ids"]
        for tokenizer in (load_tokenizer(folder), open_checkpoint(folder).tokenizer)
    ]
    assert ids[0] == ids[1] and len(ids[0]) == len(
        AutoTokenizer.from_pretrained(folder, legacy=legacy)("</s>USER: a")["input_ids"]
    )
    for to in ("ours", "llava"):
        convert(folder, tmp_path / to, to, progress=lambda line: None)
        assert text_ids(tmp_path / to) == known[legacy], to


@pytest.mark.parametrize("legacy", [True, False])
def test_what_transformers_five_saved_is_read_from_its_tokenizer_json(
    legacy: bool, golden: Path, tmp_path: Path
) -> None:
    folder = write.gem_golden(tmp_path / "x", golden).folder
    says_legacy(folder, legacy)
    known = text_ids(folder)
    tokenizer = load_tokenizer(folder)
    (folder / "tokenizer.model").unlink()
    tokenizer.save_pretrained(folder)
    assert "legacy" not in json.loads((folder / "tokenizer_config.json").read_text())
    edit(folder / "config.json", transformers_version="5.23.0")
    assert text_ids(folder) == known
    assert tokenizer_arguments(folder) == ({"legacy": True} if legacy else {})


def with_token(folder: Path, **tokens: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens(tokens)
    (folder / "tokenizer.model").unlink()
    tokenizer.save_pretrained(folder)


def test_a_padding_token_beyond_the_embedding(golden: Path, tmp_path: Path) -> None:
    folder = write.gem(tmp_path / "x", golden).folder
    before = load_tokenizer(folder)
    with_token(folder, pad_token="[PAD]")
    assert len(AutoTokenizer.from_pretrained(folder)) == 513
    checkpoint = open_checkpoint(folder)
    rows = checkpoint.model.get_input_embeddings().weight.shape[0]
    assert (rows, len(checkpoint.tokenizer), checkpoint.tokenizer.pad_token_id) == (512, 512, 0)
    for tokenizer in (checkpoint.tokenizer, load_tokenizer(folder), Processor.from_pretrained(folder).tokenizer):
        for text in ("What is [PAD] the rate?</s>", "a"):
            assert (
                tokenizer(text)["input_ids"] == before(text)["input_ids"] and max(tokenizer(text)["input_ids"]) < rows
            )
    recording, _ = simulate(Heart(), seed=0)
    inputs = Processor.from_pretrained(folder)(["a", "a longer [PAD] one"], ecg=recording)
    assert int(inputs["input_ids"].max()) < rows
    assert checkpoint.model.generate(**inputs, max_new_tokens=2).shape == (2, 2)


def test_an_end_token_beyond_the_embedding(golden: Path, tmp_path: Path) -> None:
    folder = write.gem(tmp_path / "x", golden).folder
    with_token(folder, eos_token="<|im_end|>")
    with pytest.raises(
        InputError, match=r"eos_token '<\|im_end\|>' of the tokenizer in .* is number 512, and the model embeds 512"
    ):
        open_checkpoint(folder)


def no_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


FAULTS = {
    "none": (no_tokenizer, "has none"),
    "empty": (lambda folder: (folder / "tokenizer.model").write_bytes(b""), "tokenizer.model is empty"),
    "pointer": (
        lambda folder: (folder / "tokenizer.model").write_text("version https://git-lfs.github.com/spec/v1\n"),
        "Git LFS pointer",
    ),
    "cut": (lambda folder: (folder / "tokenizer_config.json").write_text('{"legacy": '), "JSON can't be read"),
    "half": (lambda folder: (no_tokenizer(folder), (folder / "vocab.json").write_text("{}")), "no merges.txt"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_inspect_says_what_is_wrong_with_a_tokenizer(
    fault: str, golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write.gem(tmp_path / "x", golden).folder
    assert inspect(folder).to_dict()["complete"] is True
    spoil, said = FAULTS[fault]
    spoil(folder)
    assert main(["inspect", str(folder)]) == 0
    text = capsys.readouterr().out
    assert any(line.startswith("tokenizer: ") and said in line for line in text.splitlines())
    assert "apart from that complete" in text
    found = inspect(folder).to_dict()
    assert found["complete"] is False and said in found["notes"][0]
    monkeypatch.setattr(building.weights, "stream", lambda *_, **__: pytest.fail("weights were read"))
    with pytest.raises(InputError):
        open_checkpoint(folder)


def test_convert_says_that_there_is_no_tokenizer(
    golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write.gem(tmp_path / "x", golden).folder
    no_tokenizer(folder)
    assert main(["convert", str(folder), str(tmp_path / "out"), "--to", "ours"]) == 0
    assert "has no tokenizer" in capsys.readouterr().err


def test_a_refused_question_makes_no_folder(golden: Path, shared: Path, tmp_path: Path) -> None:
    folder = write.gem(tmp_path / "x", golden).folder
    no_tokenizer(folder)
    record = shared / "data" / "cinc2021" / "A0001.hea"
    assert (
        main(
            ["ask", "--model", str(folder), "--ecg", str(record), "--out", str(tmp_path / "new" / "answers"), "Rhythm?"]
        )
        == 2
    )
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"eos_token_id": "two"}', '{"eos_token_id": [2, null]}'])
def test_a_damaged_generation_config(content: str, golden: Path, tmp_path: Path) -> None:
    folder = write.gem(tmp_path / "x", golden).folder
    (folder / "generation_config.json").write_text(content)
    for open_it in (
        lambda: inspect(folder),
        lambda: open_checkpoint(folder),
        lambda: convert(folder, tmp_path / "out", "ours"),
    ):
        with pytest.raises(InputError, match=r"generation_config\.json"):
            open_it()
    assert not (tmp_path / "out").exists()


def test_null_ends_are_none(golden: Path, tmp_path: Path) -> None:
    folder = write.gem(tmp_path / "x", golden).folder
    (folder / "generation_config.json").write_text('{"eos_token_id": null}')
    model = open_checkpoint(folder).model
    assert model.language_model.generation_config.eos_token_id == 2
    with torch.no_grad():
        assert model.language_model(input_ids=torch.tensor([[1, 2]])).logits.isfinite().all()
