"""The ECG encoder of ECG-CoCa, in plain torch, under the parameter names of the released weights.

A vision transformer on the time axis: 12 leads enter a convolution of stride 50, a class token and learned positions
follow. Structure after the encoder of open_clip's CoCa as ECG-Chat adapted it (``cpt_wfep_epoch_20.pt``); what GEM
takes from it is the output of the last block, before ``ln_post``, class token kept.

Axes: B batch, L leads, T samples, P tokens (class token first), W width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from llava_ecg.ecg.formats import read
from llava_ecg.ecg.leads import STANDARD
from llava_ecg.ecg.recording import Recording
from llava_ecg.errors import InputError
from llava_ecg.streams import Prepared


class _Mlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, hidden)
        self.c_proj = nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c_proj(nn.functional.gelu(self.c_fc(x)))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = _Mlp(width, hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class _Transformer(nn.Module):
    def __init__(self, width: int, layers: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(_Block(width, heads, hidden) for _ in range(layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.resblocks:
            x = block(x)
        return x


class EcgCoCaTower(nn.Module):
    """ECG-CoCa's ECG encoder.

    Args:
        seq_length: T, samples a value has.
        lead_num: L.
        layers, width, head_width: of the transformer.
        patch_size: samples a token covers.
        embed_dim: width of the contrastive embedding.
        mlp_ratio: hidden width of the feed-forward over `width`.
    """

    def __init__(
        self,
        seq_length: int = 5000,
        lead_num: int = 12,
        layers: int = 12,
        width: int = 768,
        head_width: int = 64,
        patch_size: int = 50,
        embed_dim: int = 512,
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__()
        if seq_length % patch_size or width % head_width:
            raise InputError(
                f"an ECG tower of {seq_length} samples in patches of {patch_size}, width {width} in heads of "
                f"{head_width}, does not "
                "divide; choose whole multiples"
            )
        self.seq_length, self.lead_num, self.width = seq_length, lead_num, width
        self.tokens = seq_length // patch_size + 1
        self.conv1 = nn.Conv1d(lead_num, width, patch_size, stride=patch_size, bias=False)
        self.class_embedding = nn.Parameter(width**-0.5 * torch.randn(width))
        self.positional_embedding = nn.Parameter(width**-0.5 * torch.randn(self.tokens, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = _Transformer(width, layers, width // head_width, int(width * mlp_ratio))
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(width**-0.5 * torch.randn(width, embed_dim))

    def forward(self, ecg: torch.Tensor) -> torch.Tensor:
        """float [B, L, T] -> [B, P, W]: the last block's output, class token first, before ``ln_post``."""
        x = self.conv1(ecg.to(self.conv1.weight.dtype)).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(x.shape[0], 1, -1), x], dim=1)
        return self.transformer(self.ln_pre(x + self.positional_embedding))

    def embed(self, ecg: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The contrastive view: pooled [B, embed_dim] of the class token, and the other tokens [B, P - 1, W], after
        ``ln_post``."""
        x = self.ln_post(self.forward(ecg))
        return x[:, 0] @ self.proj, x[:, 1:]

    def preparer(self, **preparation: Any) -> EcgPreparation:
        """How this tower's input is made from a Recording; the arguments are `EcgPreparation`'s."""
        return EcgPreparation(samples=self.seq_length, tokens=self.tokens, lead_count=self.lead_num, **preparation)


@dataclass(frozen=True)
class EcgPreparation:
    """Recording -> float32 [1, L, T] in mV.

    Attributes:
        samples, tokens, lead_count: T, P and L of the tower.
        leads: ``standard``: by name in standard order, limb leads derived where they can be; ``as_filed``: the rows as
            they come (GEM), or in standard order, which is noted, where another number of leads is filed and twelve can
            be had.
        rate: resampled to this many Hz; None takes the samples as they are filed (GEM).
    """

    samples: int
    tokens: int
    lead_count: int
    leads: Literal["standard", "as_filed"] = "standard"
    rate: float | None = 500.0

    def __post_init__(self) -> None:
        if self.leads not in ("standard", "as_filed"):
            raise InputError(f"an ECG can't be prepared with leads {self.leads!r}; known are standard, as_filed")

    def read(self, path: Path) -> Recording:
        """Any format of `llava_ecg.plugins.readers`."""
        return read(path)

    def derive(self, sources: Mapping[str, Any]) -> None:
        """A signal can't be had from anything else."""

    def prepare(self, source: Recording) -> Prepared:
        """NaN and Inf become 0; cut, or padded with zeros at the end, to T samples.

        Raises:
            InputError: leads are missing.
        """
        notes = []
        filed = [
            name for name in source.leads if name not in source.derived
        ]  # what was computed stands behind and not in file order
        names: Sequence[str] = filed
        if self.leads == "standard" or (
            len(filed) != self.lead_count == len(STANDARD) and not source.with_derived().missing
        ):
            names = STANDARD
        if self.leads != "standard" and names is STANDARD:
            notes.append(
                f"{len(filed)} leads are filed: the model was given twelve in standard order, limb leads computed "
                "from I and II"
            )
        recording = source.select(names)
        if len(recording.leads) != self.lead_count:
            raise InputError(
                f"{source.source or 'the recording'} has {len(recording.leads)} leads and the model's ECG tower "
                f"takes {self.lead_count}"
            )
        if self.rate is not None:
            recording = recording.window(0, self.samples / self.rate).resample(self.rate)
        used = self.samples / recording.rate
        if source.duration > used + 0.5:
            notes.append(f"the model was given the first {used:g} s of {source.duration:.1f} s")
        signal = torch.from_numpy(recording.signal[:, : self.samples].copy())
        signal = torch.nan_to_num(signal, nan=0.0, posinf=0.0, neginf=0.0)
        values = torch.zeros(1, self.lead_count, self.samples)
        values[0, :, : signal.shape[1]] = signal
        return Prepared(values, self.tokens, torch.arange(self.tokens), tuple(notes), (0.0, used))
