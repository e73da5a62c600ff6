"""Processes that hold shards of the model make the step that one process makes, and save the whole model."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import llava_ecg
from llava_ecg.errors import InputError
from llava_ecg.model.saving import save_checkpoint
from llava_ecg.train.arguments import parse
from llava_ecg.train.flags import check_flags
from llava_ecg.train.run import build_dataset, main
from llava_ecg.train.starting import build
from llava_ecg.train.trainer import Collator
from llava_ecg.train.zero import blanks_of, zero_settings

from .test_ranks import mixed_data, several
from .test_run import flags, parts, toy  # noqa: F401  (fixtures)

RECIPES = Path(__file__).resolve().parents[2] / "scripts" / "recipes"
STEP = ("--max_steps", "2", "--optim", "sgd", "--learning_rate", "0.1", "--max_grad_norm", "0.5", "--seed", "3")
KINDS = {
    "full": ("--unfreeze_ecg_tower",),
    "lora": ("--lora_enable", "--lora_r", "4", "--lora_dropout", "0"),
}
COUNTING = """
import sys
from llava_ecg.train import leaving, run, trainer
def counted(self, model, *args, **kwargs):
    if not seen:
        held = model.parameters()
        if self.args.deepspeed and not any(hasattr(each, "ds_id") for each in held):  # stage 2
            held = [each for group in self.optimizer.param_groups for each in group["params"]]
        seen.append(sum(getattr(each, "_local_tensor", each).numel() for each in held))
        print(f"holds {seen[0]} before its first step", flush=True)
    return step(self, model, *args, **kwargs)
seen = []
step = trainer.LlavaEcgTrainer.training_step
trainer.LlavaEcgTrainer.training_step = counted
leaving.leave(run.main(sys.argv[1:]))
"""
ZERO2 = {  # LLaVA's own file
    "fp16": {
        **{"enabled": "auto", "loss_scale": 0, "loss_scale_window": 1000, "initial_scale_power": 16},
        **{"hysteresis": 2, "min_loss_scale": 1},
    },
    "bf16": {"enabled": "auto"},
    **dict.fromkeys(("train_micro_batch_size_per_gpu", "train_batch_size", "gradient_accumulation_steps"), "auto"),
    "zero_optimization": {
        **{"stage": 2, "overlap_comm": True, "contiguous_gradients": True, "sub_group_size": 1e9},
        "reduce_bucket_size": "auto",
    },
}
MODES = {
    "fsdp2": ("--fsdp", "full_shard", "--fsdp_config", str(RECIPES / "fsdp2.json")),
    "zero2": ("--deepspeed", json.dumps(ZERO2)),
    "zero3": ("--deepspeed", str(RECIPES / "zero3.json")),
}
RUNS = [
    pytest.param(mode, marks=() if mode == "fsdp2" else (pytest.mark.slow,))  # DeepSpeed first builds an operation
    for mode in MODES
]


def needs(mode: str) -> None:
    for name in ("accelerate", "peft", *(["deepspeed"] if mode.startswith("zero") else [])):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed")


def saved(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a saved folder."""
    files = [path for path in folder.rglob("*.safetensors") if "checkpoint-" not in str(path.relative_to(folder))]
    return {f"{path.parent.name}/{key}": value for path in files for key, value in load_file(path).items()}


def logged(folder: Path, name: str) -> list[float]:
    """A number at each step."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if "loss" in line]


@pytest.fixture(scope="module")
def data(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:  # noqa: F811
    return "--data_path", str(mixed_data(toy, tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module", params=KINDS)
def alone(
    request: pytest.FixtureRequest,
    toy: Path,  # noqa: F811
    parts: Path,  # noqa: F811
    data: tuple[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, Path, Path]:
    """What is trained, and the folders that one process saves without a step and with two."""
    pytest.importorskip("peft")
    out = tmp_path_factory.mktemp("alone")
    begun, one = out / "begun" / "run", out / "one" / "run"
    words = (*STEP, *KINDS[request.param], *data, "--per_device_train_batch_size", "4")
    assert main([*flags(toy, parts, begun, *words), "--learning_rate", "0"]) == 0
    assert main(flags(toy, parts, one, *words)) == 0
    return request.param, begun, one


@pytest.mark.parametrize("mode", RUNS)
def test_shards_step_as_one(
    mode: str,
    alone: tuple[str, Path, Path],
    toy: Path,  # noqa: F811
    parts: Path,  # noqa: F811
    data: tuple[str, str],
    tmp_path: Path,
) -> None:
    needs(mode)
    kind, begun, one = alone
    two = tmp_path / "two" / "run"
    shared = ("--per_device_train_batch_size", "1", "--gradient_accumulation_steps", "2", "--ddp_backend", "gloo")
    script = tmp_path / "counting.py"
    script.write_text(COUNTING)
    ended = several(flags(toy, parts, two, *STEP, *KINDS[kind], *data, *shared, *MODES[mode]), script)
    assert ended.returncode == 0, ended.stderr[-5000:]
    model = llava_ecg.load(one).model
    start, single, sharded = (saved(folder) for folder in (begun, one, two))
    moved = [name for name, value in single.items() if not torch.equal(value, start[name])]
    total = sum(single[name].numel() for name in moved) if mode == "zero2" else len_of(model)
    held = {int(number) for number in re.findall(r"holds (\d+) before", ended.stdout)}
    assert held
    assert max(held) < 0.7 * total
    for number in ("loss", "grad_norm"):
        assert len(logged(one, number)) == 2
        assert logged(two, number) == pytest.approx(logged(one, number), rel=1e-4)
    assert start.keys() == single.keys() == sharded.keys()
    assert len(moved) > 30
    for name, value in single.items():
        step = value - start[name]
        torch.testing.assert_close(
            sharded[name] - start[name], step, rtol=1e-4, atol=1e-4 * float(step.abs().max()), msg=name
        )
    opened, expected = llava_ecg.load(two).model.state_dict(), model.state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(opened[name], value, rtol=1e-4, atol=1e-5)


def len_of(model: torch.nn.Module) -> int:
    return sum(value.numel() for value in model.parameters())


@pytest.mark.parametrize("mode", RUNS)
def test_shards_go_on(mode: str, toy: Path, parts: Path, tmp_path: Path) -> None:  # noqa: F811
    needs(mode)
    lora = ("--lora_enable", "--lora_r", "4", "--lora_dropout", "0.3", "--seed", "7", "--ddp_backend", "gloo")
    steps = ("--per_device_train_batch_size", "1", "--save_strategy", "steps", "--save_steps", "2")
    words = flags(toy, parts, tmp_path / "run", *lora, *steps, *MODES[mode])
    ended = several(words)
    assert ended.returncode == 0, ended.stderr[-5000:]
    losses, whole = logged(tmp_path / "run", "loss"), saved(tmp_path / "run")
    assert len(losses) == 4
    shutil.rmtree(tmp_path / "run" / "checkpoint-4")
    ended = several(words)
    assert ended.returncode == 0, ended.stderr[-5000:]
    assert "goes on from" in ended.stdout
    assert logged(tmp_path / "run", "loss")[4:] == losses[2:]
    again = saved(tmp_path / "run")
    assert again.keys() == whole.keys()
    for name, value in whole.items():
        assert torch.equal(again[name], value), name


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--fsdp", "hybrid_shard"], "it is full_shard or shard_grad_op"),
        (["--fsdp", "full_shard offload"], "--fsdp offload is not followed here"),
        (["--fsdp", "full_shard", "--fsdp_config", "none.json"], "can't be read"),
        (["--fsdp", "full_shard", "--fsdp_config", '{"versoin": 2}'], "did you mean version?"),
        (["--fsdp", "full_shard", "--fsdp_config", '{"version": 1}'], "version 1 is not followed here"),
        (["--fsdp", "full_shard", "--fsdp_config", '{"state_dict_type": "SHARDED_STATE_DICT"}'], "a whole model"),
        (["--fsdp", "full_shard", "--fsdp_config", '{"cpu_ram_efficient_loading": true}'], "reads the whole model"),
        (["--fsdp_config", "x.json"], "comes to nothing without --fsdp full_shard"),
        (["--fsdp", "full_shard", "--optim", "adafactor"], "--optim adafactor is not known to step right in shards"),
        (["--fsdp", "full_shard", "--pure_bf16"], "--pure_bf16 is not known to come out right in shards"),
        (["--fsdp", "full_shard", "--bits", "4", "--lora_enable"], "--bits is not known to come out right in shards"),
        (["--deepspeed", "none.json"], "can't be read"),
        (["--deepspeed", "[]"], "can't be read"),
        (["--deepspeed", '{"zero_optimization": {"stage": 1}}'], "stage 1 is not followed here; it is 2 or 3"),
        (["--deepspeed", '{"zero_optimization": {"stage": 2}, "optimizer": {}}'], "take optimizer out of the file"),
        (["--deepspeed", '{"zero_optimization": {"stage": 2}, "autotuning": {}}'], "'autotuning' is not known"),
        (["--deepspeed", '{"zero_optimization": {"stage": 2, "zero_hpz_partition_size": 2}}'], "'zero_hpz_partition"),
        (["--deepspeed", '{"zero_optimization": {"stage": 2}, "train_batch_size": 7}'], 'write "auto" in the file'),
        (
            ["--deepspeed", '{"zero_optimization": {"stage": 3, "offload_param": {"device": "cpu"}}}'],
            "offload_param is not known",
        ),
    ],
)
def test_what_shards_do_not_follow_is_refused(
    words: list[str], fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "auto" in fault:
        needs("zero")
    if words[0] == "--deepspeed":
        monkeypatch.setattr("llava_ecg.train.zero.find_spec", lambda _: True)
    monkeypatch.setattr("llava_ecg.train.shards.refuse_alone", lambda _: None)
    known = ["--model_name_or_path", "m", "--data_path", "d", "--output_dir", str(tmp_path), "--use_cpu"]
    with pytest.raises(InputError) as refused:
        model_args, data_args, args = parse([*known, *words, "--report_to", "none"])
        check_flags(args, model_args, data_args)
    assert fault in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("flag", ["fsdp", "deepspeed"])
def test_one_process_has_no_shards(flag: str, tmp_path: Path) -> None:
    known = ["--model_name_or_path", "m", "--data_path", "d", "--output_dir", str(tmp_path), "--use_cpu"]
    with pytest.raises(InputError, match=f"--{flag} comes to nothing in a single process; .*torchrun"):
        parse([*known, f"--{flag}", "full_shard" if flag == "fsdp" else str(RECIPES / "zero2.json")])


def test_without_deepspeed_its_flag_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llava_ecg.train.zero.find_spec", lambda _: None)
    with pytest.raises(InputError, match="deepspeed, which is not installed"):
        zero_settings(str(RECIPES / "zero2.json"))


def test_a_tensor_that_is_not_whole_is_not_saved(toy: Path, parts: Path, tmp_path: Path) -> None:  # noqa: F811
    assert main(flags(toy, parts, tmp_path / "out", "--max_steps", "1")) == 0
    opened = llava_ecg.load(tmp_path / "out")
    state = opened.model.state_dict()
    name = "projectors.image.0.weight"
    for bad in ({**state, name: torch.empty(0)}, {key: value for key, value in state.items() if key != name}):
        with pytest.raises(InputError, match=f"{name} .* so nothing is saved"):
            save_checkpoint(opened.model, opened.tokenizer, tmp_path / "bad", state=bad)
        assert not (tmp_path / "bad").exists()
    save_checkpoint(opened.model, opened.tokenizer, tmp_path / "good", state=state)
    assert saved(tmp_path / "good").keys() == {f"good/{key[4:]}" for key in saved(tmp_path / "out")}


def test_blanks_stand_for_what_a_batch_lacks(toy: Path, parts: Path, data: tuple[str, str]) -> None:  # noqa: F811
    model_args, data_args, args = parse([*flags(toy, parts, toy / "out"), *data])
    model, tokenizer = build(model_args, args)
    dataset = build_dataset(model, tokenizer, data_args, args)
    blanks = blanks_of(dataset)
    assert {name: tuple(value.shape) for name, value in blanks.items()} == {
        "ecg": (1, 12, 5000),
        "image": (1, 3, 56, 56),
    }
    text = next(each for each in dataset if not any(each.streams.values()))
    bare, blank = (Collator(0, given)([text]) for given in (None, blanks))
    assert not bare["streams"]
    assert blank["streams"].keys() == {"ecg", "image"}
    losses = []
    for batch in (bare, blank):
        del batch["seen"], batch["records"]
        losses.append(model(**batch, supervised_only=True).loss)
    assert torch.equal(*losses)
    losses[1].backward()
    assert all(value.grad is not None and not value.grad.any() for value in model.projectors.parameters())
    with pytest.raises(InputError, match="no record has the stream"):
        blanks_of(replace(dataset, conversations=[dataset.conversations[1]]))
