"""What can't go well is said before the first step; what LLaVA's scripts and mixtures bring along goes on."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from llava_ecg.errors import InputError
from llava_ecg.plugins import templates
from llava_ecg.train import arguments
from llava_ecg.train import flags as rules
from llava_ecg.train.checks import check_tokenizer
from llava_ecg.train.run import main
from llava_ecg.train.trainer import LlavaEcgTrainer

from .test_run import flags, losses, parts, toy  # noqa: F401  (fixtures)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--report_to", "wandb"], "pip install wandb"),
        (["--report_to", "nonsense"], "unknown --report_to nonsense"),
        (["--eval_strategy", "steps"], "--eval_strategy steps needs data to evaluate on"),
        (["--train_sampling_strategy", "batch_rebalance"], "take group_by_length"),
        (["--use_liger_kernel", "true"], "liger"),
        (["--deepspeed", "zero2.json"], "deepspeed"),
    ],
)
def test_what_is_missing_is_said(
    words: list[str],
    fault: str,
    toy: Path,  # noqa: F811
    parts: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rules, "find_spec", lambda _: None)
    assert main([*flags(toy, parts, tmp_path / "out"), *words]) == 2
    captured = capsys.readouterr()
    error = captured.err.strip().splitlines()[-1]
    assert error.startswith("llava_ecg.train: ")
    assert fault in error
    assert "{'loss'" not in captured.out


def test_several_gpus_in_one_process_are_refused(tmp_path: Path) -> None:
    args = arguments.TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    rules.check_flags(args)
    args._n_gpu = 2
    with pytest.raises(InputError, match="torchrun --nproc_per_node 2"):
        rules.check_flags(args)


def test_tf32_has_no_effect_on_a_cpu(
    toy: Path,  # noqa: F811
    parts: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arguments, "is_torch_tf32_available", lambda: False)
    assert main([*flags(toy, parts, tmp_path / "out", "--max_steps", "1"), "--tf32", "True"]) == 0
    assert sum("--tf32 has no effect here" in line for line in capsys.readouterr().out.splitlines()) == 1


def test_records_of_text_alone_train_no_projector(
    toy: Path,  # noqa: F811
    parts: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    records = json.loads((toy / "train.json").read_text())[:2]
    for key in ("ecg", "image"):
        records[1].pop(key, None)
    records[1]["conversations"] = [{"from": "human", "value": "Say yes."}, {"from": "gpt", "value": "yes"}]
    for name, chosen in (("mixed", records), ("text", records[1:])):
        data = tmp_path / f"{name}.json"
        data.write_text(json.dumps(chosen))
        words = [*flags(toy, parts, tmp_path / name, "--tune_mm_mlp_adapter"), "--per_device_train_batch_size", "1"]
        assert main([*words, "--data_path", str(data), "--max_steps", "4"]) == 0
        assert all(loss > 0 for loss in losses(capsys.readouterr().out))
    mixed, text = (load_file(tmp_path / name / "streams.safetensors") for name in ("mixed", "text"))
    assert not torch.equal(mixed["projectors.ecg.weight"], text["projectors.ecg.weight"])
    assert all(value.isfinite().all() for value in (*mixed.values(), *text.values()))


def test_label_smoothing_has_its_effect(toy: Path, parts: Path, tmp_path: Path) -> None:  # noqa: F811
    for smoothing in ("0", "0.5"):
        assert (
            main(flags(toy, parts, tmp_path / smoothing, "--max_steps", "1", "--label_smoothing_factor", smoothing))
            == 0
        )
    plain, smooth = (load_file(tmp_path / name / "model.safetensors") for name in ("0", "0.5"))
    assert not torch.equal(plain["language_model.model.norm.weight"], smooth["language_model.model.norm.weight"])


def test_the_loss_is_smoothed_and_divided_as_the_flags_say(tmp_path: Path) -> None:
    args = arguments.TrainingArguments(output_dir=str(tmp_path), use_cpu=True, label_smoothing_factor=0.3)
    trainer = SimpleNamespace(args=args, accelerator=SimpleNamespace(num_processes=2), _seen=torch.zeros(3).long())
    trainer._recent, trainer.refuse_no_number = [], lambda: None
    given = {}

    def model(**kwargs: Any) -> Any:
        given.update(kwargs)
        return SimpleNamespace(loss=torch.tensor(1.5))

    inputs = {"labels": torch.tensor([[-100, 3]]), "seen": [4, 2, 1]}
    loss = LlavaEcgTrainer.compute_loss(trainer, model, inputs, num_items_in_batch=8)  # type: ignore[arg-type]
    assert loss == 3.0, "times the number of processes, whose gradients are averaged"
    assert (given["label_smoothing"], given["num_items_in_batch"], given["supervised_only"]) == (0.3, 8, True)
    assert trainer._seen.tolist() == [4, 2, 1]


def written(path: Path, *records: tuple[str, str | None, str, str]) -> str:
    """A file of records: id, ECG or None, question, answer ("" for none)."""
    made = []
    for name, ecg, question, answer in records:
        turns = [{"from": "human", "value": question}, *([{"from": "gpt", "value": answer}] if answer else [])]
        made.append({"id": name, "conversations": turns} | ({"ecg": ecg} if ecg else {}))
    path.write_text(json.dumps(made))
    return str(path)


def asked_for(text: str) -> int:
    """The length that a message tells to raise --model_max_length to."""
    found = re.search(r"raise --model_max_length to (?:at least )?(\d+)", text)
    assert found is not None, text
    return int(found[1])


def test_answers_behind_the_limit_are_refused(
    toy: Path,  # noqa: F811
    parts: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = written(tmp_path / "train.json", ("long", None, "Why? " * 100, "so"), ("short", None, "Why? " * 60, "so"))
    words = [*flags(toy, parts, tmp_path / "out"), "--data_path", data, "--model_max_length"]
    assert main([*words, "300"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "'short'" in error
    # the length that is advised is the least at which an answer fits whole
    assert main([*words, str(asked_for(error))]) == 0
    captured = capsys.readouterr()
    assert captured.err.count("record 'long': its answer lies behind") == 1
    assert "'short'" not in captured.err
    assert "had an answer cut" in captured.out
    enough = re.search(r"raise --model_max_length to (\d+)", captured.err)
    assert enough is not None
    assert main([*words, enough[1]]) == 0
    captured = capsys.readouterr()
    assert "warning: of" not in captured.out + "".join(
        line for line in captured.err.splitlines(True) if line.startswith("llava_ecg")
    )
    assert main([*words, str(int(enough[1]) - 1)]) == 0
    assert "of 8 samples, 4 had an answer cut" in capsys.readouterr().out


def test_the_length_that_holds_the_towers_is_not_advised(
    toy: Path,  # noqa: F811
    parts: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ecg = json.loads((toy / "train.json").read_text())[0]["ecg"]
    data = written(tmp_path / "train.json", ("one", ecg, "<image>\nWhat is the rhythm?", "Sinus rhythm."))
    words = [*flags(toy, parts, tmp_path / "out"), "--data_path", data, "--model_max_length"]
    assert main([*words, "20"]) == 2
    advised = asked_for(capsys.readouterr().err.splitlines()[-1])
    assert main([*words, str(advised)]) == 0
    captured = capsys.readouterr()
    assert "had an answer cut" not in captured.out
    assert all(loss > 0 for loss in losses(captured.out))
    assert main([*words, str(advised - 1)]) == 0
    assert "of 4 samples, 4 had an answer cut at" in capsys.readouterr().out


@pytest.mark.parametrize("workers", ["0", "1"])
def test_records_without_an_answer_are_told(
    workers: str,
    toy: Path,  # noqa: F811
    parts: Path,  # noqa: F811
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    data = written(tmp_path / "train.json", ("mute", None, "Why?", ""), ("one", None, "Why?", "so"))
    words = [*flags(toy, parts, tmp_path / "out"), "--max_steps", "1", "--dataloader_num_workers", workers]
    assert main([*words, "--data_path", data]) == 0
    captured = capfd.readouterr()
    assert captured.err.count("record 'mute': it has no answer") == 1
    assert (
        "of 2 samples, 0 had an answer cut at 2048 tokens (--model_max_length), and from 1 nothing was learnt"
        in captured.out
    )
    assert main([*words, "--data_path", written(tmp_path / "none.json", ("mute", None, "Why?", ""))]) == 2
    assert "no record has an answer" in capfd.readouterr().err.splitlines()[-1]


def test_a_tokenizer_and_its_template_are_held_together(letters: Any) -> None:
    said = check_tokenizer(letters, "v1", templates.get("v1"))
    assert len(said) == 1
    assert "the template v1 ends an answer with '</s>', which is 4 tokens" in said[0]
    known = copy.deepcopy(letters)
    known.add_special_tokens({"eos_token": "</s>"})
    assert check_tokenizer(known, "v1", templates.get("v1")) == []
    known.pad_token = None
    assert "'</s>' stands for it" in check_tokenizer(known, "v1", templates.get("v1"))[0]
    known.eos_token = None
    with pytest.raises(InputError, match="neither a pad token nor an eos token"):
        check_tokenizer(known, "v1", templates.get("v1"))
