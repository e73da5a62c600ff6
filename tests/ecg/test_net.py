"""The network in numpy is the network that was trained: equal to a slow, obvious one and to the torch twin."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from safetensors.numpy import save_file

from llava_ecg.ecg.waves import net

TRAINING = Path(__file__).resolve().parents[2] / "scripts" / "train_delineator.py"


def convolved(weight: np.ndarray, bias: np.ndarray, x: np.ndarray) -> np.ndarray:
    """One lead [C, P] -> [width, P], tap by tap."""
    out, _, taps = weight.shape
    padded = np.pad(x, ((0, 0), (taps // 2, taps // 2)))
    return np.array(
        [
            [
                bias[o] + sum(float(weight[o, :, tap] @ padded[:, place + tap]) for tap in range(taps))
                for place in range(x.shape[1])
            ]
            for o in range(out)
        ]
    )


def slow_logits(arrays: dict[str, np.ndarray], signal: np.ndarray) -> np.ndarray:
    """`Network.logits` for a signal [L, T] whose T needs no padding, one lead and one sample after the other."""

    def block(name: str, leads: list[np.ndarray]) -> list[np.ndarray]:
        first = [
            np.maximum(convolved(arrays[f"{name}.first.weight"], arrays[f"{name}.first.bias"], x), 0) for x in leads
        ]
        shared = arrays[f"{name}.pooled.weight"] @ (sum(first) / len(first)) + arrays[f"{name}.pooled.bias"][:, None]
        return [
            np.maximum(convolved(arrays[f"{name}.second.weight"], arrays[f"{name}.second.bias"], x) + shared, 0)
            for x in first
        ]

    leads, kept, last = [row.reshape(-1, net.PATCH).T for row in signal], [], len(net.CHANNELS) - 1
    for level in range(last + 1):
        leads = block(f"down{level}", leads)
        if level < last:
            kept.append(leads)
            leads = [(x[:, ::2] + x[:, 1::2]) / 2 for x in leads]
    for level in range(last):
        leads = block(
            f"up{level}",
            [np.concatenate([skip, np.repeat(x, 2, axis=1)]) for skip, x in zip(kept.pop(), leads, strict=True)],
        )
    heads = [arrays["head.weight"] @ x + arrays["head.bias"][:, None] for x in leads]  # [classes * patch, P]
    return np.array(
        [head.reshape(net.CLASSES, net.PATCH, -1).transpose(0, 2, 1).reshape(net.CLASSES, -1) for head in heads]
    )


def test_it_equals_the_slow_obvious_one() -> None:
    network = net.load()
    signal = np.random.default_rng(0).normal(size=(3, 2 * net.MULTIPLE)).astype(np.float32)
    np.testing.assert_allclose(network.logits(signal), slow_logits(network.arrays, signal), atol=2e-4)


@pytest.fixture(scope="module")
def training() -> ModuleType:
    pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("train_delineator", TRAINING)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("samples", [64, 500, 1001])
def test_it_equals_the_torch_twin(training: ModuleType, samples: int) -> None:
    import torch

    torch.manual_seed(0)
    twin = training.Delineator()
    with torch.no_grad():  # norms that do something
        for name, buffer in twin.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.add_(torch.rand_like(buffer))
    network = net.Network(training.exported(twin), {}, "")
    signal = np.random.default_rng(1).normal(size=(4, samples)).astype(np.float32)
    padded = np.pad(signal, ((0, 0), (0, -samples % net.MULTIPLE)))
    with torch.no_grad():
        expected = twin(torch.from_numpy(padded[None]), torch.ones(1, 4))[0, :, :, :samples].numpy()
    np.testing.assert_allclose(network.logits(signal), expected, atol=1e-5)


def test_dead_leads_take_no_part() -> None:
    network, rng = net.load(), np.random.default_rng(2)
    signal = rng.normal(size=(3, 640)).astype(np.float32)
    alone = network.probabilities(signal[:2], np.array([True, True]))
    with_dead = network.probabilities(signal, np.array([True, True, False]))
    np.testing.assert_allclose(with_dead[:2], alone, atol=1e-6)
    assert (with_dead[2, 0] == 1).all() and (with_dead[2, 1:] == 0).all()


def test_probabilities_sum_to_one() -> None:
    found = net.load().probabilities(
        np.random.default_rng(3).normal(size=(2, 300)).astype(np.float32), np.array([True, True])
    )
    assert found.shape == (2, net.CLASSES, 300)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_the_weights_are_small_and_say_where_they_come_from() -> None:
    network = net.load()
    assert net.WEIGHTS.stat().st_size < 1_000_000
    assert "LUDB" in network.card["trained on"] and "ODC-By" in network.card["trained on"]
    assert len(network.digest) == 12


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"down0.first.weight": np.zeros((2, 2, 3), dtype=np.float32)}, path)
    with pytest.raises(ValueError, match="not the weights of a delineator"):
        net.load(path)
    path.write_bytes(b"no such file")
    with pytest.raises(ValueError, match="no safetensors file"):
        net.load.__wrapped__(path)


def test_normalise_ignores_scale_and_single_spikes() -> None:
    signal = np.random.default_rng(4).normal(size=(2, 1000))
    np.testing.assert_allclose(net.normalise(signal * [[3.0], [0.01]]), net.normalise(signal), atol=1e-4)
    signal[0, 0] = 1e6
    assert net.normalise(signal).max() <= 20
