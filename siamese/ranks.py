"""What processes that train together share; with one process, nothing.

See :mod:`siamese.distributed` for how they are started.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn


def rank_and_count() -> tuple[int, int]:
    """Which process this is, from 0, and how many train together."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def average_gradients(network: nn.Module) -> None:
    """Give every process the mean of all processes' gradients, in one exchange."""
    _average([p.grad for p in network.parameters() if p.grad is not None])


def average_buffers(network: nn.Module) -> None:
    """The same of running means and variances, which each process has of its own batches."""
    _average([buffer for buffer in network.buffers() if buffer.is_floating_point()])


def _average(tensors: list[Tensor]) -> None:
    _, count = rank_and_count()
    if count == 1 or not tensors:
        return
    flat = torch.cat([tensor.detach().float().flatten() for tensor in tensors])
    distributed.all_reduce(flat)
    flat /= count
    sizes = [tensor.numel() for tensor in tensors]
    for tensor, part in zip(tensors, flat.split(sizes), strict=True):
        tensor.copy_(part.view_as(tensor))
