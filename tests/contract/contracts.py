"""What each socket asks of a part, as functions that fail where it is not so. The built-in parts are held to them by
`test_contracts`, those of a package from outside by ``tests/thirdparty/test_contracts``."""

from __future__ import annotations

import inspect
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llava_ecg.data.conversation import MARKER, Turn
from llava_ecg.ecg.simulate import simulate
from llava_ecg.errors import InputError
from llava_ecg.plugins import guides, readers, tasks, templates, towers

SMALL: dict[str, dict[str, Any]] = {
    "ecg_coca": {"layers": 1, "width": 16, "head_width": 8, "embed_dim": 8},
    "clip": {
        "vision_config": {
            **{"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
            **{"image_size": 56, "patch_size": 14},
        }
    },
    "open_clip_page": {"size": 64, "patch": 32, "width": 16, "layers": 1, "heads": 2},
}
"""Tower -> settings of a small one, where its defaults make a large one or there are none."""


def reader(name: str, folder: Path) -> None:
    """A class without arguments; knows its files by suffix and content; refuses what it can't read in one sentence."""
    made = readers.get(name)()
    assert made.suffixes and all(suffix.startswith(".") and suffix == suffix.lower() for suffix in made.suffixes)
    noise = np.random.default_rng(0).integers(128, 256, 4096, dtype=np.uint8).tobytes()
    for number, content in enumerate((b"", noise)):
        path = folder / f"{number}{made.suffixes[0]}"
        path.write_bytes(content)
        assert made.recognises(content[:1024], path) is False
        with pytest.raises(InputError) as refused:
            made.read(path, options())
        assert path.name in str(refused.value) and "\n" not in str(refused.value)
    if getattr(type(made), "parts", False):
        assert list(inspect.signature(made.seconds).parameters) == ["path"]


def options() -> Any:
    """Nothing that a user says of a file."""
    from llava_ecg.ecg.formats.reader import Options

    return Options.of(None, None, None)


def tower(name: str, folder: Path) -> None:
    """Its preparer is picklable and does the same each time; the values become [n, P, D] tokens; it learns; saved and
    opened it is the same."""
    from llava_ecg.model.loading import TowerCheckpoint, load
    from llava_ecg.model.saving import save_tower
    from llava_ecg.model.towers.tower import build_tower

    settings = SMALL.get(name, {})
    assert json.loads(json.dumps(settings)) == settings
    torch.manual_seed(0)
    built = build_tower(name, settings)
    preparer = built.preparer()
    recording = simulate(seed=1)[0]
    assert preparer.derive({}) is None
    with pytest.raises(InputError):
        preparer.read(folder / "not there")
    source = preparer.derive({"ecg": recording}) or recording
    prepared = preparer.prepare(source)
    again = pickle.loads(pickle.dumps(preparer)).prepare(source)
    assert torch.equal(again.values, prepared.values) and torch.equal(again.index, prepared.index)
    assert prepared.tokens == built.tokens and prepared.index.dtype == torch.int64
    assert int(prepared.index.min()) >= -1 and int(prepared.index.max()) < len(prepared.values) * built.tokens
    assert prepared.values.isfinite().all()
    tokens = built(prepared.values)
    assert tokens.shape == (len(prepared.values), built.tokens, built.width)
    tokens.sum().backward()
    assert any(value.grad is not None and value.grad.abs().sum() > 0 for value in built.parameters())
    save_tower(built, name, settings, {}, folder / "tower")
    opened = load(folder / "tower", device="cpu", dtype="float32")
    assert isinstance(opened, TowerCheckpoint) and opened.kind == name
    with torch.no_grad():
        assert torch.equal(opened.tower(prepared.values), built.eval()(prepared.values))
    with pytest.raises(InputError, match="has no setting 'nonsense'"):
        build_tower(name, settings | {"nonsense": 1})
    assert inspect.isclass(towers.get(name))


def projector(name: str) -> None:
    """[.., width] -> [.., out], for any widths, or one sentence; what has parameters learns."""
    from llava_ecg.model.projectors import build_projector

    for width, out in ((8, 8), (8, 12)):
        try:
            made = build_projector(name, width, out)
        except InputError as refused:
            assert width != out and str(width) in str(refused) and str(out) in str(refused)
            continue
        given = torch.randn(2, 3, width, requires_grad=True)
        made(given).square().sum().backward()
        assert made(given).shape == (2, 3, out)
        assert given.grad is not None and given.grad.abs().sum() > 0
        assert all(value.grad is not None for value in made.parameters())


def template(name: str) -> None:
    """The answers are trained on, with what ends them, and nothing that a user said; a prompt ends where its answer
    begins."""
    made = templates.get(name)
    turns = [Turn("user", f"{MARKER}\nFirst?"), Turn("assistant", "One."), Turn("user", "Second?")]
    whole = [*turns, Turn("assistant", "Two.")]
    spans = made.spans(whole)
    trained = "".join(span.text for span in spans if span.trained)
    other = "".join(span.text for span in spans if not span.trained)
    assert "One." in trained and "Two." in trained and trained.count(made.stop.strip() or made.stop) >= 2
    assert "First?" not in trained and "Second?" not in trained and made.stop
    assert made.prompt(whole).count(MARKER) == other.count(MARKER) == 1
    if made.question:
        assert "First?" in other and other.index("First?") < other.index("Second?")
        asked = made.prompt(turns)
        assert made.prompt(whole).startswith(asked)
        assert made.prompt(whole)[len(asked) :].strip().startswith("Two.")


def dataset(name: str) -> None:
    """Gives the same file each time; its records are sound and have answers."""
    from llava_ecg.data.named import data_file
    from llava_ecg.data.records import scan

    path = data_file(name)
    assert path == data_file(name)
    records = [entry.record for entry in scan(path)]
    assert records and all(isinstance(each, Mapping) for each in records)
    for record in records:
        speakers = [said["from"] for said in record["conversations"]]
        assert speakers[0] == "human" and speakers[-1] == "gpt"
        named = [value for key, value in record.items() if key not in ("id", "conversations")]
        assert all((path.parent / file).is_file() for file in named if isinstance(file, str))


def guide(name: str) -> None:
    """A `Guide` with a version, the same each time, whose rules speak of what the vocabulary knows."""
    from llava_ecg.instruct.guide import Guide
    from llava_ecg.instruct.vocabulary import vocabulary

    made = guides.get(name)()
    assert isinstance(made, Guide) and made.version and made.rules
    assert made == guides.get(name)()
    assert set(made.rules) <= set(vocabulary().rows)
    assert all(key == rule.name for key, rule in made.rules.items())


def task(name: str, folder: Path) -> None:
    """An `EvalTask` of this name that says in one sentence which files it lacks."""
    from llava_ecg.eval.items import Item
    from llava_ecg.eval.tasks import EvalTask

    made = tasks.get(name)
    assert isinstance(made, EvalTask) and made.name == name
    assert made.summary and made.summary.isprintable() and made.needs
    assert made.there(folder) is False
    with pytest.raises(InputError) as refused:
        made.items(folder)
    assert name in str(refused.value) and "--data" in str(refused.value)
    asked = made.put(Item("a", "How fast?", (), (), options=("one", "two")))
    assert "How fast?" in asked and "{" not in asked
    assert all(isinstance(label, str) for label in made.marking.named)
