"""Running mean and variance of observations."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Normalizer(nn.Module):
    """Scales each observation entry to mean 0 and variance 1, and clips it.

    Statistics of whole batches are merged with the parallel formula of Chan, Golub and LeVeque (1979), "Updating
    formulae and a pairwise algorithm for computing sample variances", in float64. They change only in ``update`` and
    ``merge``, so that one roll-out is collected and learned from with the same scaling.

    Attributes:
        count: () float64, number of samples seen.
        mean: (D,) float64.
        var: (D,) float64, population variance; 1 before the first sample.
        shift: (D,) float32, what is subtracted.
        scale: (D,) float32, what the difference is multiplied with.
        frozen: whether updates are ignored.
    """

    count: Tensor
    mean: Tensor
    var: Tensor
    shift: Tensor
    scale: Tensor

    def __init__(self, dim: int, clip: float = 10.0, eps: float = 1e-2) -> None:
        """Start with mean 0 and scale 1.

        Args:
            dim: D.
            clip: limit of the result, in standard deviations.
            eps: smallest standard deviation that is believed: an entry that hardly moves is not blown up to noise.
        """
        super().__init__()
        self.clip = clip
        self.eps = eps
        self.frozen = False
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(dim, dtype=torch.float64))
        self.register_buffer("var", torch.ones(dim, dtype=torch.float64))
        self.register_buffer("shift", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised copy of ``x``, shape (..., D)."""
        return ((x - self.shift) * self.scale).clamp(-self.clip, self.clip)

    @staticmethod
    def statistics(x: Tensor) -> Tensor:
        """Return count, mean and variance of ``x`` (..., D) as rows of one (3, D) float64 tensor."""
        flat = x.reshape(-1, x.shape[-1])
        # The reference row keeps float32 sums exact where the mean is large against the spread.
        reference = flat[0]
        var, mean = torch.var_mean(flat - reference, dim=0, correction=0)
        count = torch.full_like(mean, flat.shape[0], dtype=torch.float64)
        return torch.stack((count, mean.double() + reference.double(), var.double()))

    @torch.no_grad()
    def merge(self, statistics: Tensor) -> None:
        """Add the samples that ``statistics`` (3, D), see ``statistics()``, describes.

        A batch with any non-finite statistic is left out: one bad number must not spoil the mean for ever.
        """
        if self.frozen:
            return
        count, mean, var = statistics
        good = torch.isfinite(statistics).all()
        total = self.count + count
        delta = mean - self.mean
        new_mean = self.mean + delta * count / total
        new_var = (self.var * self.count + var * count + delta.square() * self.count * count / total) / total
        self.mean.copy_(torch.where(good, new_mean, self.mean))
        self.var.copy_(torch.where(good, new_var, self.var))
        self.count.copy_(torch.where(good, total[0], self.count))
        self.shift.copy_(self.mean)
        self.scale.copy_((self.var + self.eps**2).rsqrt())

    def update(self, x: Tensor) -> None:
        """Add the samples ``x`` (..., D)."""
        self.merge(self.statistics(x))

    def freeze(self, frozen: bool = True) -> None:
        """Stop (or, with ``False``, resume) learning the statistics."""
        self.frozen = frozen
