"""``--dry_run``: a 7B recipe is told from headers, with the figures that arithmetic gives, and nothing is written."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig

from llava_ecg.checkpoint.shapes import expected
from llava_ecg.train.dry_run import Tokens, token_report
from llava_ecg.train.memory import Part, Step, expected_memory, state_bytes
from llava_ecg.train.run import main

from .test_recipes import RECIPES
from .test_run import flags, parts, toy  # noqa: F401  (fixtures)

WIDE: dict[str, Any] = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
}


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory, letters: Any) -> Path:
    """A folder like Vicuna-7B's: config, tokenizer, and a file of weights with its header and holes for the rest."""
    folder = tmp_path_factory.mktemp("seven")
    LlamaConfig(**WIDE).save_pretrained(folder)
    letters.save_pretrained(folder)
    config = {"text_config": {"model_type": "llama", **WIDE}, "streams": {}, "image_newline": False}
    shapes = expected(config)
    assert shapes is not None
    header: dict[str, Any] = {}
    at = 0
    for name, shape in shapes.items():
        end = at + 2 * torch.Size(shape).numel()
        header[name.removeprefix("language_model.")] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)
    return folder


def table(text: str) -> dict[str, list[str]]:
    """First word or words of each line -> what follows, cut at two blanks."""
    rows = [[cell for cell in line.split("  ") if cell.strip()] for line in text.splitlines()]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows if len(row) > 1}


@pytest.mark.parametrize("recipe", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_a_recipe_of_seven_billion_is_told_from_headers(
    recipe: str,
    seven: Path,
    toy: Path,  # noqa: F811
    parts: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("peft")
    if "qlora" in recipe:
        pytest.importorskip("bitsandbytes")
    out = tmp_path / "out"
    words = ["--config", str(RECIPES / f"{recipe}.yaml"), "--model_name_or_path", str(seven), "--use_cpu"]
    words += ["--ecg_tower", str(parts / "ecg"), "--vision_tower", str(parts / "image"), "--dry_run"]
    words += ["--data_path", str(toy / "train.json"), "--ecg_folder", str(toy), "--output_dir", str(out)]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert not out.exists()
    assert not list(tmp_path.iterdir())
    told = table(text)
    whole = 6_738_415_616  # of Llama-2-7B and Vicuna-7B
    lora = 128 * 32 * (4 * (4096 + 4096) + 3 * (4096 + 11008)) if "lora" in recipe else 0
    trained = lora or (0 if recipe == "pretrain" else whole)
    assert told["language_model"] == [f"{whole + lora:,}", f"{trained:,}"]
    weights = float(told["weights"][0])
    low, high = {"finetune_lora": (13.4, 15.0), "finetune_qlora": (3.4, 6.5)}.get(recipe, (26.9, 27.2))
    assert low < weights < high
    if recipe == "finetune":
        assert 26.9 < float(told["gradients"][0]) < 27.2
        assert 53.8 < float(told["optimizer"][0]) < 54.4
    assert "learning_rate: 2.0e-05" in text or recipe not in ("finetune", "train_gem")
    assert f"of {len(json.loads((toy / 'train.json').read_text()))} records" in text
    assert text.splitlines()[-1] == "a dry run: nothing was trained or written"


def test_a_dry_run_counts_what_training_meets(
    toy: Path,  # noqa: F811
    parts: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from llava_ecg.train.trainer import Collator

    met: list[tuple[int, int, int]] = []
    collate = Collator.__call__

    def noted(self: Collator, samples: Any) -> dict[str, Any]:
        met.extend((len(each), int((each.labels[1:] != -100).sum()), int((each.slots == 1).sum())) for each in samples)
        return collate(self, samples)

    monkeypatch.setattr(Collator, "__call__", noted)
    words = [*flags(toy, parts, tmp_path / "out"), "--max_steps", "-1", "--num_train_epochs", "1"]
    assert main(words) == 0
    capsys.readouterr()
    assert main([*words, "--dry_run", "--output_dir", str(tmp_path / "other")]) == 0
    text = capsys.readouterr().out
    total = sum(length for length, _, _ in met)
    assert table(text)["supervised"] == [f"{sum(each[1] for each in met) / total:.1%}"]
    assert table(text)["tower tokens, ecg"] == [f"{sum(each[2] for each in met) / total:.1%}"]
    assert f"longest {max(each[0] for each in met):,} of" in text
    assert f"an epoch is about {total:,} tokens" in text
    assert not (tmp_path / "other").exists()


def test_mistakes_are_found_by_a_dry_run_too(
    toy: Path,  # noqa: F811
    parts: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    good = [*flags(toy, parts, tmp_path / "out"), "--dry_run"]
    for change, fault in (
        (["--ecg_folder", str(tmp_path)], "'000000': missing"),
        (["--tune_mm_mlp_adapter", "--output_dir", str(parts / "base")], "choose another"),
        (["--model_max_length", "20"], "reach to place"),
    ):
        assert main([*good, *change]) == 2
        assert fault in capsys.readouterr().err.splitlines()[-1]


def test_the_histogram_holds_every_record() -> None:
    lengths = (10, 10, 11, 50, 89)
    text = token_report(Tokens(lengths, 17, {"ecg": 34}, 500), 100)
    bars = [line for line in text.splitlines() if " to " in line]
    assert sum(int(line.split()[3]) for line in bars) == len(lengths)
    assert bars[0].split()[:4] == ["10", "to", "19", "3"]
    assert bars[0].endswith("#" * 40)
    assert "supervised            10.0%" in text
    assert "about 17,000 tokens" in text


def test_memory_is_arithmetic() -> None:
    text = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4}
    text |= {"num_key_value_heads": 2, "vocab_size": 100}
    made = [Part(1000, 4, True), Part(500, 4, False), Part(800, 1, False, "nf4")]
    step = Step(tokens=10, supervised=4, itemsize=2, checkpointed=False)
    found = expected_memory(made, "adamw_torch", text, step)
    layer = 2 * (6 * 8 + 2 * 8 * 2 // 4 + 4 * 16)
    assert found == {
        "weights": 4 * 1500 + round(800 * 4.127 / 8),
        "autocast copies": 2 * 1500,
        "gradients": 4000,
        "optimizer": 8000,
        "activations": 3 * 10 * layer,
        "logits": 12 * 4 * 100,
    }
    again = expected_memory(made, "adamw_torch", text, Step(10, 4, 2, True))
    assert again["activations"] == 3 * 8 * 2 * 10 + 10 * layer
    assert [state_bytes(name, 4) for name in ("adamw_bnb_8bit", "sgd", "adamw_torch", "new")] == [2, 0, 8, 8]


def test_the_optimizers_states_are_as_large_as_said() -> None:
    weight = torch.nn.Parameter(torch.ones(64, 64))
    weight.grad = torch.ones_like(weight)
    optimizer = torch.optim.AdamW([weight])
    optimizer.step()
    held = sum(value.nbytes for value in optimizer.state[weight].values() if value.ndim)
    assert held == state_bytes("adamw_torch", 4) * weight.numel()
