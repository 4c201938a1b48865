"""How strokes run: a description of the writing itself, that nothing has to be learnt for.

Which way an edge of the ink runs, together with which way it runs a few pixels on, counted over
the whole signature: slant, roundness, the swing of the hand. A forger copies the shape, and this
less well. After the edge-hinge of Bulacu and Schomaker (IEEE TPAMI 29, 2007), as co-occurrences of
gradient directions (Watanabe, Ito and Yokoi, PSIVT 2009), which need no contours.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

DIRECTIONS = 12
_STEPS = ((0, 4), (3, 3), (4, 0), (3, -3))  # down and right, pixels
# Directions that differ by a quarter turn at most. The two sides of a stroke run opposite ways:
# counted together they would tell how thick the pen is.
_SAME_SIDE = [
    (a, b % DIRECTIONS)
    for a in range(DIRECTIONS)
    for b in range(a - DIRECTIONS // 4, a + DIRECTIONS // 4 + 1)
]
#: Length of a description.
LENGTH = len(_SAME_SIDE) * len(_STEPS)

_AT_ONCE = 4  # canvases: their edges, a megabyte each, stay in the processor's cache

_SHARPNESS = 4  # how often the cosine to a direction is squared: the sixteenth power
_FAINT = 0.02  # gradients below count nothing
_HALF = 0.05  # gradient that counts half


@torch.no_grad()
def describe(canvases: Tensor) -> Tensor:
    """Co-occurrences of edge directions; no gradient flows through them.

    Parameters
    ----------
    canvases : (B, 1, H, W) in [0, 1], ink bright.

    Returns
    -------
    (B, LENGTH) square roots of shares, each of unit length: the Euclidean distance of two is
    the Hellinger distance of the counts, times √2.
    """
    few = canvases.float().contiguous().split(_AT_ONCE if canvases.device.type == "cpu" else 256)
    return torch.cat([_describe(some) for some in few])


def _describe(canvases: Tensor) -> Tensor:
    edges = _edges(canvases)
    height, width = edges.shape[2:]
    reach = max(max(abs(n) for n in step) for step in _STEPS)
    around = F.pad(edges, (reach, reach, reach, reach))
    here = edges.flatten(2)
    a, b = torch.tensor(_SAME_SIDE, device=edges.device).T
    counts = []
    for down, right in _STEPS:
        there = around[:, :, reach + down :, reach + right :][:, :, :height, :width].flatten(2)
        counts.append(torch.bmm(here, there.transpose(1, 2))[:, a, b])
    table = torch.cat(counts, 1)
    return (table / table.sum(1, keepdim=True).clamp(min=1e-6)).sqrt_()


def principal_axes(descriptions: Tensor, count: int) -> Tensor:
    """The axes (count, LENGTH) that hold most of some descriptions (N, LENGTH).

    Not centred, so that what lies along a few tens of them is of nearly unit length too, and
    distances are nearly those of the whole. Axes beyond the number of descriptions are zero.
    """
    axes = torch.linalg.svd(descriptions, full_matrices=False).Vh[:count]
    return F.pad(axes, (0, 0, 0, count - len(axes)))


def _edges(canvases: Tensor) -> Tensor:
    """How much each pixel is an edge that runs one of the directions, (B, DIRECTIONS, H, W)."""
    response = F.conv2d(canvases, _derivatives().to(canvases.device), padding=2).relu_()
    # Half of all directions respond, so that their squares add up to a quarter of the number.
    strength = response.square().sum(1, keepdim=True).mul_(4 / DIRECTIONS).clamp_(min=1e-8).sqrt_()
    edges = response.div_(strength)
    for _ in range(_SHARPNESS):
        edges.square_()
    return edges.mul_(strength / (strength + _HALF) * (strength > _FAINT))


@functools.cache
def _derivatives() -> Tensor:
    """Derivatives of a smoothed picture in each direction, as kernels (DIRECTIONS, 1, 5, 5)."""
    smooth, slope = torch.tensor([1.0, 2.0, 1.0]) / 4, torch.tensor([-1.0, 0.0, 1.0]) / 2
    down = F.conv_transpose2d(
        torch.outer(smooth, smooth)[None, None], torch.outer(slope, smooth)[None, None]
    )
    angle = torch.arange(DIRECTIONS)[:, None, None, None] * (2 * math.pi / DIRECTIONS)
    return angle.cos() * down.transpose(2, 3) + angle.sin() * down
