"""How the next token is chosen from a language model's scores.

Each request has its own source of chance, and one draw for each token of the vocabulary decides (the exponential race:
the token with the largest probability / draw wins), so what is chosen does not depend on what else is answered beside
it, nor on the order of near-equal scores.

Axis: V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Sampling:
    """Settings of the choice.

    Attributes:
        temperature: scores are divided by it; 0 takes the likeliest token.
        top_p: only the likeliest tokens that together hold this share of the probability.
        top_k: only so many of the likeliest tokens; 0 for all.
        repetition_penalty: scores of tokens that the answer has already are divided by it, or multiplied where they are
            negative (Keskar et al. 2019, arXiv 1909.05858); 1 for none.
        seed: of the draws.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int = 0

    @property
    def plain(self) -> bool:
        """Whether the likeliest token is taken as it is."""
        return self.temperature == 0 and self.repetition_penalty == 1


class Chooser:
    """The choices of one request, one after the other."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self._chance = torch.Generator().manual_seed(sampling.seed)

    def choose(self, scores: torch.Tensor, before: Sequence[int]) -> int:
        """The next token.

        Args:
            scores: float32 [V].
            before: the tokens of the answer so far.
        """
        penalty = self.sampling.repetition_penalty
        if penalty != 1 and before:
            seen = torch.tensor(sorted(set(before)), device=scores.device)
            told = scores[seen]
            scores = scores.index_copy(0, seen, torch.where(told < 0, told * penalty, told / penalty))
        if self.sampling.temperature == 0:
            return int(scores.argmax())
        shares = kept(scores / self.sampling.temperature, self.sampling.top_k, self.sampling.top_p)
        draws = torch.empty(shares.shape).exponential_(generator=self._chance).to(shares.device)
        return int((shares / draws).argmax())


def kept(scores: torch.Tensor, top_k: int, top_p: float) -> torch.Tensor:
    """Probabilities float32 [V] of scores [V], zero for tokens that `top_k` and then `top_p` leave out."""
    if 0 < top_k < scores.shape[0]:
        scores = scores.masked_fill(scores < scores.topk(top_k).values[-1], -torch.inf)
    shares = scores.softmax(dim=-1)
    if top_p < 1:
        falling, order = shares.sort(descending=True, stable=True)
        before = falling.cumsum(dim=0) - falling
        # the likeliest one stays, however small the share
        out = order[1:][before[1:] >= top_p]
        shares = shares.index_fill(0, out, 0.0)
    return shares
