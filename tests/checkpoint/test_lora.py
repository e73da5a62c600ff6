"""A LoRA gives PEFT's own logits, or a sentence; and what rounding takes from it is said, or does not happen."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from llava_ecg.checkpoint.inspect import inspect
from llava_ecg.cli import main
from llava_ecg.errors import InputError
from llava_ecg.model.convert import convert, merge
from llava_ecg.model.loading import open_checkpoint
from tests.model import released as write

IDS = torch.tensor([[1, 50, 60, 70, 80, 90, 100, 110]])


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture
def adapted(golden: Path, tmp_path: Path) -> Path:
    """A LoRA of rank 4 and alpha 8 over the GEM in ``base`` beside it."""
    write.gem(tmp_path / "base", golden)
    return write.lora(tmp_path / "lora", golden, tmp_path / "base").folder


# What PEFT does with each is another sum, or another base, than W + scale B A.
ANOTHER_RULE: list[dict[str, Any]] = [
    {"init_lora_weights": "pissa"},
    {"init_lora_weights": "pissa_niter_4"},
    {"init_lora_weights": "olora"},
    {"init_lora_weights": "OLoRA"},
    {"init_lora_weights": "corda", "corda_config": {"corda_method": "kpm"}},
    {"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4}},
    {"init_lora_weights": "lora_ga"},
    {"init_lora_weights": "mica"},
    {"init_lora_weights": "of next year"},
    {"alora_invocation_tokens": [1, 2]},
    {"use_dora": True},
    {"use_qalora": True},
    {"use_bdlora": {"nblocks": 2}},
    {"layer_replication": [[0, 2]]},
    {"lora_bias": True},
    {"trainable_token_indices": [3]},
    {"target_parameters": ["x"]},
    {"arrow_config": {"top_k": 2}},
    {"kasa_config": {"a": 1}},
    {"velora_config": {"a": 1}},
    {"rank_pattern": {"q_proj": 8}},
    {"peft_type": "ADALORA"},
    {"use_what_is_not_known_yet": True},
]


@pytest.mark.parametrize(
    "change", ANOTHER_RULE, ids=lambda change: " ".join(map(str, [*change, *change.values()]))[:40]
)
def test_an_adapter_of_another_rule_is_refused_by_its_setting(
    change: dict[str, Any], adapted: Path, tmp_path: Path
) -> None:
    edit(adapted / "adapter_config.json", **change)
    named = next(iter(change))
    for open_it in (
        lambda: inspect(adapted),
        lambda: open_checkpoint(adapted),
        lambda: merge(adapted, tmp_path / "out"),
        lambda: convert(adapted, tmp_path / "out", "ours"),
    ):
        with pytest.raises(InputError, match=f"no plain LoRA .*{named}.*merge it with PEFT first"):
            open_it()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "settings", [{}, {"init_lora_weights": "gaussian"}, {"init_lora_weights": "eva"}, {"use_rslora": True}]
)
def test_a_plain_adapter_gives_pefts_logits(settings: dict[str, Any], adapted: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    edit(adapted / "adapter_config.json", **settings)
    base = open_checkpoint(tmp_path / "base").model.language_model
    ours = open_checkpoint(adapted).model.language_model
    with torch.no_grad():
        plain = base(input_ids=IDS).logits
        theirs = peft.PeftModel.from_pretrained(base, adapted).eval()(input_ids=IDS).logits
        torch.testing.assert_close(ours(input_ids=IDS).logits, theirs, atol=1e-4, rtol=0)
    assert float((theirs - plain).abs().max()) > 0.1


def test_the_case_of_pissa_is_refused_on_the_command_line(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = shared / "cases" / "ckpt-lora-pissa"
    if not case.is_dir():
        pytest.skip(f"needs {case}")
    assert main(["inspect", str(case / "lora"), "--base", str(case / "gem")]) == 2
    assert "init_lora_weights: 'pissa'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"r": 8}, "pairs of rank 4 .* says r 8"),
        ({"lora_alpha": float("nan")}, "lora_alpha nan, which is no finite number"),
        ({"lora_alpha": float("inf")}, "no finite number"),
        ({"lora_alpha": "16"}, "no usable r and lora_alpha"),
        ({"r": 4.0}, "no usable r"),
        ({"r": 0}, "no usable r"),
        ({"target_modules": ["q_proj"]}, "pairs .*does not name"),
        ({"target_modules": r".*\.q_proj"}, "pairs .*does not name"),
        ({"target_modules": "(("}, "can't be read"),
        ({"exclude_modules": ["v_proj"]}, "pairs .*does not name"),
        ({"layers_to_transform": [0]}, "pairs .*does not name"),
    ],
)
def test_settings_and_tensors_that_disagree(change: dict[str, Any], said: str, adapted: Path) -> None:
    edit(adapted / "adapter_config.json", **change)
    with pytest.raises(InputError, match=said):
        open_checkpoint(adapted)


def small(adapted: Path, share: float) -> None:
    """Scale the LoRA's B so that each pair changes its weight by this share of its norm."""
    base = load_file(adapted.parent / "base" / "model.safetensors")
    pairs = torch.load(adapted / "adapter_model.bin")
    for name in [name for name in pairs if ".lora_A." in name]:
        partner = name.replace(".lora_A.", ".lora_B.")
        step = 2.0 * pairs[partner].float() @ pairs[name].float()
        weight = base[name.removeprefix("base_model.model.").replace(".lora_A.weight", ".weight")].float()
        pairs[partner] = pairs[partner].float() * (share * weight.norm() / step.norm())
    torch.save(pairs, adapted / "adapter_model.bin")


@pytest.mark.parametrize(
    ("filed", "loaded"), [("bfloat16", "float32"), ("float16", "float32"), ("bfloat16", "float16")]
)
def test_a_small_lora_over_sixteen_bits_keeps_its_effect(filed: str, loaded: str, golden: Path, tmp_path: Path) -> None:
    base = write.gem(tmp_path / "base", golden, dtype=getattr(torch, filed))
    adapted = write.lora(tmp_path / "lora", golden, base.folder).folder
    small(adapted, 0.003)
    pairs = torch.load(adapted / "adapter_model.bin")
    have = dict(open_checkpoint(adapted, dtype=loaded).model.language_model.named_parameters())
    for name in [name for name in pairs if ".lora_A." in name]:
        weight = name.removeprefix("base_model.model.").replace(".lora_A.weight", ".weight")
        step = 2.0 * pairs[name.replace(".lora_A.", ".lora_B.")] @ pairs[name].float()
        off = (have[weight].detach().float() - (base.state[weight].float() + step)).norm() / step.norm()
        assert float(off) < (0.01 if loaded == "float32" else 0.1), (
            weight
        )  # in the file's dtype it was 0.4; float16 keeps 11 bits


def test_what_sixteen_bits_take_from_a_lora_is_said(golden: Path, tmp_path: Path) -> None:
    base = write.gem(tmp_path / "base", golden, dtype=torch.bfloat16)
    adapted = write.lora(tmp_path / "lora", golden, base.folder).folder
    small(adapted, 0.003)
    told: list[str] = []
    merge(adapted, tmp_path / "merged", progress=told.append)
    assert any("rounding to bfloat16 takes 4" in line for line in told), told
    with pytest.warns(UserWarning, match="rounding to bfloat16 takes 4. % of what the LoRA changes"):
        open_checkpoint(adapted, dtype="bfloat16")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        open_checkpoint(adapted, dtype="float32")


@pytest.mark.parametrize("lacking", ["file", "projector"])
def test_projectors_of_the_base_are_said(
    lacking: str, golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = write.gem(tmp_path / "base", golden)
    kept = ("mm_projector", "ecg_projector") if lacking == "file" else ("mm_projector",)
    folder = write.lora(tmp_path / "lora", golden, base.folder, tuned=kept).folder
    if lacking == "file":
        (folder / "non_lora_trainables.bin").unlink()
    said = (
        "no non_lora_trainables.bin: the projectors (ecg, image)"
        if lacking == "file"
        else "not hold every projector (not ecg)"
    )
    [note] = open_checkpoint(folder).notes
    assert said in note and "the base's" in note
    assert inspect(folder).to_dict()["notes"] == [note]
    assert main(["inspect", str(folder)]) == 0
    assert f"note: {note}" in capsys.readouterr().out
    told: list[str] = []
    merge(folder, tmp_path / "merged", progress=told.append)
    assert note in told
    whole = write.lora(tmp_path / "whole", golden, base.folder).folder
    assert open_checkpoint(whole).notes == () and inspect(whole).notes == ()


def test_two_pairs_for_one_weight(adapted: Path) -> None:
    pairs = torch.load(adapted / "adapter_model.bin")
    twice = {
        name.removeprefix("base_model.model."): value
        for name, value in pairs.items()
        if "layers.0.self_attn.q_proj" in name
    }
    (adapted / "adapter_model.bin").unlink()
    save_file({name: value.clone() for name, value in (pairs | twice).items()}, adapted / "adapter_model.safetensors")
    with pytest.raises(InputError, match="two pairs for the one weight"):
        open_checkpoint(adapted)
