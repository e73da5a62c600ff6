"""The wave delineator's network, run in numpy: at each sample of each lead the probability of no wave, P, QRS and T.

A one-dimensional U-Net whose weights are shared by all leads. Two neighbouring samples are one position of two
channels, five scales halve the time axis from one to the next, and at every scale each lead adds a learned map of the
mean over the live leads, so that any number of leads works and each lead knows what the others see.
``scripts/train_delineator.py`` holds the torch twin that learns.

Axes: L leads, T samples at `RATE`, C channels, P positions.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

RATE = 250.0
PATCH = 2  # samples of a position
CHANNELS = (16, 24, 32, 48, 64)
KERNELS = (7, 7, 5, 5, 5)
CLASSES = 4  # none, P, QRS, T
MULTIPLE = PATCH * 2 ** (len(CHANNELS) - 1)  # a signal is padded to a multiple of so many samples
# multiplications in one matrix product: from 2^18 on OpenBLAS shares it among threads, which wait for each other by
# spinning and cost more than they save in products of this size
_ONE_THREAD, _FEW_INPUTS = 2**18, 32
WEIGHTS = Path(__file__).parent / "delineator.safetensors"


def normalise(signal: np.ndarray) -> np.ndarray:
    """Each lead divided by the 98th percentile of its magnitude, within +-20.

    Args:
        signal: [L, T] in mV, high-passed.
    """
    scale = np.percentile(np.abs(signal), 98, axis=1, keepdims=True)
    return np.clip(signal / np.maximum(scale, 1e-6), -20, 20).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Network:
    """The weights.

    Attributes:
        arrays: name -> float32 array, norms folded in; a convolution's weight is [out, in, tap].
        card: how they were trained.
        digest: sha256 of the file, its first 12 digits.
    """

    arrays: dict[str, np.ndarray] = field(repr=False)
    card: dict[str, Any]
    digest: str

    def probabilities(self, signal: np.ndarray, live: np.ndarray) -> np.ndarray:
        """The probability of none, P, QRS and T at each sample.

        Args:
            signal: [L, T] normalised (see `normalise`), at `RATE`.
            live: bool [L]; a dead lead takes no part and gets probability 1 of none.

        Returns:
            float32 [L, classes, T].
        """
        out = np.zeros((len(signal), CLASSES, signal.shape[1]), dtype=np.float32)
        out[:, 0] = 1.0
        if live.any() and signal.shape[1]:
            logits = self.logits(signal[live])
            logits -= logits.max(axis=1, keepdims=True)
            np.exp(logits, out=logits)
            out[live] = logits / logits.sum(axis=1, keepdims=True)
        return out

    def logits(self, signal: np.ndarray) -> np.ndarray:
        """float32 [L, classes, T] from the normalised signal [L, T] of live leads."""
        leads, samples = signal.shape
        padded = np.pad(signal.astype(np.float32), ((0, 0), (0, -samples % MULTIPLE)))
        x = np.ascontiguousarray(padded.reshape(leads, -1, PATCH).transpose(2, 0, 1))  # [C, L, P]
        kept = []
        last = len(CHANNELS) - 1
        for level in range(last + 1):
            x = self._block(f"down{level}", x)
            if level < last:
                kept.append(x)
                x = 0.5 * (x[:, :, ::2] + x[:, :, 1::2])
        for level in range(last):
            x = self._block(f"up{level}", np.concatenate([kept.pop(), np.repeat(x, 2, axis=2)]))
        out = products(self.arrays["head.weight"][:, :, None], x.reshape(len(x), -1), x[0].size)
        out += self.arrays["head.bias"][:, None]
        out = out.reshape(CLASSES, PATCH, leads, -1).transpose(2, 0, 3, 1)
        return np.ascontiguousarray(out.reshape(leads, CLASSES, -1)[:, :, :samples])

    def _block(self, name: str, x: np.ndarray) -> np.ndarray:
        """[C, L, P] -> [width, L, P]; see the torch twin."""
        x = self._convolved(f"{name}.first", x)
        np.maximum(x, 0, out=x)
        mean = products(self.arrays[f"{name}.pooled.weight"][:, :, None], x.mean(axis=1), x.shape[2])
        mean += self.arrays[f"{name}.pooled.bias"][:, None]
        x = self._convolved(f"{name}.second", x)
        x += mean[:, None]
        return np.maximum(x, 0, out=x)

    def _convolved(self, name: str, x: np.ndarray) -> np.ndarray:
        """A convolution [C, L, P] -> [width, L, P] with zeros beyond the ends.

        The leads lie in one row with zeros between them, so that each tap is a product with a shifted view of it.
        """
        weight, bias = self.arrays[f"{name}.weight"], self.arrays[f"{name}.bias"]
        _, inward, taps = weight.shape
        _, leads, places = x.shape
        half = taps // 2
        length = leads * (places + half)
        row = np.zeros((inward, half + length + half), dtype=np.float32)
        row[:, half : half + length].reshape(inward, leads, places + half)[:, :, :places] = x
        out = products(weight, row, length)
        out += bias[:, None]
        return out.reshape(-1, leads, places + half)[:, :, :places]


def products(weight: np.ndarray, row: np.ndarray, length: int) -> np.ndarray:
    """[out, length]: the sum over the taps of ``weight[:, :, tap] @ row[:, tap : tap + length]``, in parts so small
    that no threads are started for them.

    Args:
        weight: [out, in, tap].
        row: [in, length + taps - 1].
    """
    outward, inward, taps = weight.shape
    if taps > 1 and inward * taps <= _FEW_INPUTS:  # so few that one product with all shifted views is faster
        row = np.concatenate([row[:, tap : tap + length] for tap in range(taps)])
        weight = weight.transpose(0, 2, 1).reshape(outward, -1, 1)
        return products(weight, row, length)
    by_tap = np.ascontiguousarray(weight.transpose(2, 0, 1))
    columns = max(16, _ONE_THREAD // (outward * inward))
    out = np.empty((outward, length), dtype=row.dtype)
    for first in range(0, length, columns):
        stop = min(length, first + columns)
        part = by_tap[0] @ row[:, first:stop]
        for tap in range(1, taps):
            part += by_tap[tap] @ row[:, first + tap : stop + tap]
        out[:, first:stop] = part
    return out


@cache
def load(path: Path = WEIGHTS) -> Network:
    """The network of a file that ``scripts/train_delineator.py`` wrote.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file does not hold this architecture.
    """
    from safetensors import SafetensorError, safe_open

    data = path.read_bytes()
    try:
        with safe_open(path, framework="numpy") as stored:
            arrays = {name: stored.get_tensor(name).astype(np.float32) for name in stored.keys()}  # noqa: SIM118 (no iteration)
            card = json.loads((stored.metadata() or {}).get("card", "{}"))
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file ({error})") from error
    expected = {
        f"{way}{level}" for way, count in (("down", len(CHANNELS)), ("up", len(CHANNELS) - 1)) for level in range(count)
    } | {"head"}
    if {name.split(".")[0] for name in arrays} != expected:
        raise ValueError(f"{path} holds {sorted(arrays)}, not the weights of a delineator with {len(CHANNELS)} scales")
    return Network(arrays, card, hashlib.sha256(data).hexdigest()[:12])
