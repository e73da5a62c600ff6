"""What training saves has the tokenizer of what it began with, file by file, and reads text in the same tokens."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from llava_ecg.checkpoint.companions import tokenizer_arguments
from llava_ecg.checkpoint.tokenizer import load_tokenizer
from llava_ecg.model.convert import convert
from llava_ecg.model.loading import open_checkpoint
from llava_ecg.model.saving import save_checkpoint
from llava_ecg.train.run import main
from tests.model import released as write

from .test_released import flags, quiet
from .test_run import toy  # noqa: F401  (a fixture)

TEXT = "USER: What is the rhythm? ASSISTANT: Sinus rhythm.</s>USER: And the rate? ASSISTANT:"


def files(folder: Path) -> dict[str, bytes]:
    names = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template*")
    return {path.name: path.read_bytes() for name in names for path in folder.glob(name)}


def ids(folder: Path) -> list[int]:
    found: list[int] = load_tokenizer(folder)(TEXT).input_ids
    return found


@pytest.mark.parametrize("legacy", [True, False, None])
def test_a_trained_checkpoint_keeps_its_tokenizer(
    legacy: bool | None,
    toy: Path,  # noqa: F811
    golden: Path,
    tmp_path: Path,
) -> None:
    gem = write.gem(tmp_path / "gem", golden).folder
    note = gem / "tokenizer_config.json"
    settings = {key: value for key, value in json.loads(note.read_text()).items() if key != "legacy"}
    note.write_text(json.dumps(settings | ({} if legacy is None else {"legacy": legacy})))
    (gem / "special_tokens_map.json").write_text('{"eos_token": "</s>"}')
    assert main(flags(gem, toy, tmp_path / "out", "--max_steps", "1")) == 0
    convert(tmp_path / "out", tmp_path / "back", "llava", progress=quiet)
    for folder in (tmp_path / "out", tmp_path / "back"):
        assert ids(folder) == ids(gem)
        kept, came = files(folder), files(gem)
        assert kept.keys() == came.keys()  # tokenizer.model among them, and no tokenizer.json
        assert "tokenizer.model" in kept
        changed = [name for name in kept if kept[name] != came[name]]
        assert changed == ([] if legacy is not None else ["tokenizer_config.json"])
        # what the config.json beside it used to say is said in so many words, since that is another file now
        assert json.loads(kept["tokenizer_config.json"]) == settings | {"legacy": legacy is not False}
    # once more, over the folder itself
    before = files(tmp_path / "out")
    assert main(flags(tmp_path / "out", toy, tmp_path / "out", "--max_steps", "1")) == 0
    assert files(tmp_path / "out") == before


def test_another_tokenizer_in_the_folder_gives_way(toy: Path, golden: Path, tmp_path: Path, letters: Any) -> None:  # noqa: F811
    gem = write.gem(tmp_path / "gem", golden).folder
    letters.save_pretrained(tmp_path / "out")  # its tokenizer.json would be read first
    assert main(flags(gem, toy, tmp_path / "out", "--max_steps", "1")) == 0
    assert files(tmp_path / "out").keys() == files(gem).keys()
    assert ids(tmp_path / "out") == ids(gem)


def test_a_tokenizer_that_has_changed_is_saved_as_it_is(golden: Path, tmp_path: Path) -> None:
    gem = write.gem(tmp_path / "gem", golden).folder
    note = gem / "tokenizer_config.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"legacy": True}))
    opened = open_checkpoint(gem)
    opened.tokenizer.add_tokens(["<beat>"])
    opened.model.language_model.resize_token_embeddings(len(opened.tokenizer))
    opened.model.config.text_config.vocab_size = len(opened.tokenizer)
    save_checkpoint(opened.model, opened.tokenizer, tmp_path / "out")
    assert files(tmp_path / "out").keys() == {"tokenizer.json", "tokenizer_config.json"}
    assert json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())["legacy"] is True
    again = open_checkpoint(tmp_path / "out").tokenizer
    for text in (TEXT, "one <beat>USER"):
        assert again(text).input_ids == opened.tokenizer(text).input_ids


def test_a_tokenizer_whose_folder_has_gone_is_saved(golden: Path, tmp_path: Path) -> None:
    gem = write.gem(tmp_path / "gem", golden).folder
    opened = open_checkpoint(gem)
    expected = ids(gem)
    shutil.rmtree(gem)
    save_checkpoint(opened.model, opened.tokenizer, tmp_path / "out")
    assert ids(tmp_path / "out") == expected
    assert "legacy" in json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert tokenizer_arguments(tmp_path / "out") == {}  # nothing is left to the reader's version
