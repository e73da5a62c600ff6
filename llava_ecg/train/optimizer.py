"""AdamW for weights that are held in bfloat16 and nowhere in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch


def rounded(value: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """float32 -> bfloat16, up or down by chance, so that the mean over many is the value itself.

    Rounding to the nearest would lose every step that is smaller than half of the last of a weight's eight bits.
    """
    bits = value.view(torch.int32)
    noise = torch.randint(0, 1 << 16, bits.shape, dtype=torch.int32, device=bits.device, generator=generator)
    up = ((bits + noise) & -65536).view(torch.float32)  # what bfloat16 has of a float32 is its upper half
    return torch.where(value.isfinite(), up, value).to(torch.bfloat16)


class StochasticAdamW(torch.optim.Optimizer):
    """AdamW [Loshchilov and Hutter 2019] whose bfloat16 weights are rounded by chance.

    The moments are held in the weights' dtype; a step is computed in float32, a weight at a time.

    Args:
        params: weights or groups of them; those in float32 are stepped as by torch.optim.AdamW.
        lr, betas, eps, weight_decay: as in torch.optim.AdamW.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; `closure` makes the gradients anew, if it is given."""
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._step(weight, group)
        return loss

    def _step(self, weight: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["step"] = 0
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)
        state["step"] += 1
        (first, second), slope = group["betas"], weight.grad.float()  # type: ignore[union-attr]
        mean = state["exp_avg"].float().lerp_(slope, 1 - first)
        square = state["exp_avg_sq"].float().mul_(second).addcmul_(slope, slope, value=1 - second)
        size = group["lr"] / (1 - first ** state["step"])
        scale = (square / (1 - second ** state["step"])).sqrt_().add_(group["eps"])
        moved = weight.float().mul_(1 - group["lr"] * group["weight_decay"]).addcdiv_(mean, scale, value=-size)
        for kept, value in ((state["exp_avg"], mean), (state["exp_avg_sq"], square), (weight, moved)):
            kept.copy_(rounded(value) if kept.dtype == torch.bfloat16 else value)
