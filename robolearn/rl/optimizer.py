"""Adam on one flat vector: one tensor to clip, to average over processes and to step, and no host synchronisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class FlatAdam:
    """Adam (Kingma and Ba 2015, algorithm 1) over parameters that become views of one vector.

    The gradient is clipped by the norm of each group. A step whose gradient is not finite changes nothing; whether that
    happened stays on the device, in ``skipped``.

    Attributes:
        params: (P,) all parameters.
        buffer: (P + extras,) all gradients, followed by scalars that are averaged over processes together with them.
        grads: (P,) the part of ``buffer`` that holds gradients.
        extras: the rest of ``buffer``.
        lr: () float32 tensor, the step size; write it in place.
        skipped: () int64 tensor, number of steps skipped so far.
    """

    def __init__(
        self,
        groups: Sequence[Sequence[nn.Parameter]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        extras: int = 0,
    ) -> None:
        """Move the parameters of all groups into one vector. They must be on their final device, and float32."""
        self.betas, self.eps = betas, eps
        parameters = [parameter for group in groups for parameter in group]
        if len({id(parameter) for parameter in parameters}) != len(parameters):
            raise ValueError("a parameter is in two groups of the optimiser")
        device = parameters[0].device
        self.sizes = [sum(parameter.numel() for parameter in group) for group in groups]
        total = sum(self.sizes)
        self.params = torch.empty(total, device=device)
        self.buffer = torch.zeros(total + extras, device=device)
        self.grads, self.extras = self.buffer[:total], self.buffer[total:]
        self.first, self.second = torch.zeros(total, device=device), torch.zeros(total, device=device)
        self.count = torch.zeros((), device=device)
        self.skipped = torch.zeros((), dtype=torch.int64, device=device)
        self.lr = torch.tensor(lr, device=device)
        offset = 0
        for parameter in parameters:
            part = slice(offset, offset + parameter.numel())
            self.params[part].copy_(parameter.detach().reshape(-1))
            parameter.data = self.params[part].view_as(parameter)
            parameter.grad = self.grads[part].view_as(parameter)
            offset += parameter.numel()

    def zero_grad(self) -> None:
        """Clear all gradients and extras."""
        self.buffer.zero_()

    @torch.no_grad()
    def step(self, max_norm: float) -> Tensor:
        """Clip each group's gradient to ``max_norm`` and make one step; return the norm before clipping, ()."""
        parts = self.grads.split(self.sizes)
        norms = torch.stack([torch.linalg.vector_norm(part) for part in parts])
        norm = torch.linalg.vector_norm(norms)
        good = torch.isfinite(norm)
        for part, scale in zip(parts, (max_norm / (norms + 1e-6)).clamp(max=1.0), strict=True):
            part.mul_(scale)
        beta1, beta2 = self.betas
        active = good.to(self.params.dtype)
        # A non-finite gradient becomes 0 and every weight below is 0 then, so that the state stays as it was.
        self.grads.copy_(torch.where(good, self.grads, 0.0))
        self.count += active
        self.first.lerp_(self.grads, active * (1.0 - beta1))
        self.second.lerp_(self.grads.square(), active * (1.0 - beta2))
        count = self.count.clamp(min=1.0)
        denominator = (self.second / (1.0 - beta2**count)).sqrt_().add_(self.eps)
        self.params.sub_(self.first / denominator * (active * self.lr / (1.0 - beta1**count)))
        self.skipped += ~good
        return norm

    def state_dict(self) -> dict[str, Any]:
        """Moments, counters and step size."""
        return {name: getattr(self, name) for name in ("first", "second", "count", "skipped", "lr")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state_dict()``.

        Raises:
            ValueError: the state belongs to networks of another size.
        """
        for name in ("first", "second", "count", "skipped", "lr"):
            own, saved = getattr(self, name), state[name]
            if own.shape != saved.shape:
                raise ValueError(f"optimiser state {name!r} has shape {tuple(saved.shape)}, not {tuple(own.shape)}")
            own.copy_(saved)
