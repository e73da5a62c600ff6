"""The tolerance of this folder lets rounding pass, that of other CPUs too, and nothing that a fault of the model would
change."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from llava_ecg.model.llava import LlavaEcgForCausalLM

from .closeness import OF_LARGEST, close

Tensors = dict[str, torch.Tensor]
ROOT = Path(__file__).resolve().parent.parent.parent
# torch's, oneDNN's and MKL's kernels for old CPUs: they sum in another order, as those of another CPU do.
OTHER_KERNELS = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}


def moved(values: torch.Tensor, by: float) -> torch.Tensor:
    """One value moved by a share of the largest."""
    out = values.clone()
    out.view(-1)[out.numel() // 2] += by * values.abs().max()
    return out


FAULTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "scaled": lambda values: values * 1.001,
    "slightly scaled": lambda values: values * 1.00002,
    "one value moved": lambda values: moved(values, 3 * OF_LARGEST),
    "shifted": lambda values: values + 2 * OF_LARGEST * values.abs().max(),
    "another order": lambda values: values.roll(1, dims=0),
    "another order inside": lambda values: values.flip(-1),
    "two values exchanged": lambda values: torch.cat([values[:1].roll(1, dims=-1), values[1:]]),
    "negated": lambda values: -values,
    "16 bits": lambda values: values.bfloat16().float(),
    "not a number": lambda values: moved(values, float("nan")),
    "another dtype": lambda values: values.double(),
    "another shape": lambda values: values[None],
}
KINDS = {"logits": "right.logits", "embeddings": "right.inputs_embeds"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen(fault: str, kind: str, tensors: Tensors) -> None:
    theirs = tensors[KINDS[kind]].flatten(0, -2)
    close(theirs.clone(), theirs)
    with pytest.raises(AssertionError):
        close(FAULTS[fault](theirs), theirs)


def test_small_numbers_have_small_room(tensors: Tensors) -> None:
    """An absolute 1e-5 would let numbers of this scale be wrong by a tenth."""
    theirs = tensors["right.logits"] * 1e-4 / tensors["right.logits"].abs().max()
    with pytest.raises(AssertionError):
        close(theirs * 1.001, theirs)
    with pytest.raises(AssertionError):
        close(torch.zeros(3), torch.full((3,), 1e-7))


def test_a_loss_is_held_to_its_own_size() -> None:
    close(torch.tensor(6.76003), torch.tensor(6.76))
    with pytest.raises(AssertionError):
        close(torch.tensor(6.7601), torch.tensor(6.76))


@torch.no_grad()
def test_another_layer_is_seen(model: LlavaEcgForCausalLM, inputs: Tensors) -> None:
    states = model.towers["image"].vision_tower(inputs["images"], output_hidden_states=True).hidden_states
    close(states[-2], inputs["clip_hidden_m2"])
    for other in (-1, -3):
        with pytest.raises(AssertionError):
            close(states[other], inputs["clip_hidden_m2"])


def test_what_another_cpu_made_of_the_logits_passes(tensors: Tensors) -> None:
    """On an AMD EPYC one of 288,768 logits is 1.0133e-5 away, and 1.061e-5 with the original code."""
    theirs = tensors["right.logits"]
    for away in (1.0133e-5, 1.061e-5):
        close(moved(theirs, away / theirs.abs().max().item()), theirs)


def test_the_other_tests_pass_with_kernels_that_round_otherwise(golden: Path) -> None:
    tests = [f"tests/parity/test_{name}.py" for name in ("assembly", "towers", "train_step")]
    chosen = ["-k", "one_page_each or tower or projection or gradients"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, *chosen],
        cwd=ROOT,
        env=os.environ | OTHER_KERNELS | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
