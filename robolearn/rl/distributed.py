"""Data parallelism over processes started by ``torchrun``; with one process everything here does nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class ProcessGroup:
    """This process among those of the run.

    Attributes:
        rank: number of this process; only rank 0 writes files.
        size: number of processes.
        local_rank: number of this process on its machine, which is also the number of its GPU.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def average_(self, tensor: Tensor) -> Tensor:
        """Replace ``tensor`` with its mean over the processes."""
        return self.sum_(tensor).div_(self.size) if self.size > 1 else tensor

    def sum_(self, tensor: Tensor) -> Tensor:
        """Replace ``tensor`` with its sum over the processes."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        """Replace ``tensors`` with those of rank 0."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Return the ``tensor`` of every process, by rank, in every process."""
        if self.size == 1:
            return [tensor]
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(parts, tensor.contiguous())
        return parts

    def collect(self, value: Any) -> list[Any] | None:
        """Return the ``value`` of every process, by rank, in rank 0; None elsewhere."""
        if self.size == 1:
            return [value]
        parts: list[Any] | None = [None] * self.size if self.is_main else None
        dist.gather_object(value, parts, 0)
        return parts

    def any(self, flag: bool, device: torch.device | str = "cpu") -> bool:
        """Whether ``flag`` is true in any process (the same answer in all)."""
        return flag if self.size == 1 else bool(self.sum_(torch.tensor(float(flag), device=device)).item() > 0)

    def close(self) -> None:
        """Leave the group."""
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()


def start(device: torch.device | str = "cpu") -> ProcessGroup:
    """Join the processes that ``torchrun`` started; without ``torchrun`` return a group of one.

    Args:
        device: a CUDA device uses NCCL and the GPU of the local rank, anything else uses gloo.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return ProcessGroup()
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    cuda = torch.device(device).type == "cuda"
    if cuda:
        torch.cuda.set_device(local_rank)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if cuda else "gloo")
    return ProcessGroup(dist.get_rank(), dist.get_world_size(), local_rank)
