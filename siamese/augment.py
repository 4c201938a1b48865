"""Augmentation of a batch of canvases, on the device, with no loop over images.

Mild by design: a signature's slant, size and pen may vary, its shape may not. No flips.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def augment(canvases: Tensor, generator: torch.Generator) -> Tensor:
    """Randomly distort each image: affine, stroke thickness, resolution, ink.

    Parameters
    ----------
    canvases : (B, 1, H, W) in [0, 1], ink bright on 0.
    generator : of the canvases' device; the same seed gives the same result.

    Returns
    -------
    Same shape and range.
    """
    out = _affine(canvases, generator)
    out = _thickness(out, generator)
    out = _resolution(out, generator)
    return _ink(out, generator)


def _uniform(n: int, low: float, high: float, like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator, device=like.device) * (high - low) + low


def _affine(x: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate ±8°, scale 0.81-1.17 in each direction, shear ±0.15, shift 4 %."""
    n, _, height, width = x.shape
    angle = _uniform(n, -8, 8, x, generator) * (math.pi / 180)
    shear = _uniform(n, -0.15, 0.15, x, generator)
    size = _uniform(n, 0.88, 1.08, x, generator)
    stretch = _uniform(n, -0.08, 0.08, x, generator)
    scale_x, scale_y = 1 / (size * (1 + stretch)), 1 / (size * (1 - stretch))
    aspect = height / width
    cos, sin = angle.cos(), angle.sin()
    theta = torch.zeros(n, 2, 3, device=x.device)
    theta[:, 0, 0] = cos * scale_x
    theta[:, 0, 1] = (sin + shear) * scale_x * aspect
    theta[:, 0, 2] = _uniform(n, -0.08, 0.08, x, generator)
    theta[:, 1, 0] = -sin * scale_y / aspect
    theta[:, 1, 1] = cos * scale_y
    theta[:, 1, 2] = _uniform(n, -0.08, 0.08, x, generator)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def _thickness(x: Tensor, generator: torch.Generator) -> Tensor:
    """Blend towards the dilated or the eroded image: a thicker or a thinner pen."""
    amount = _uniform(len(x), -0.6, 0.8, x, generator)[:, None, None, None]
    thicker = F.max_pool2d(x, 3, 1, 1)
    thinner = -F.max_pool2d(-x, (2, 2), 1, 1)[..., : x.shape[2], : x.shape[3]]
    return torch.where(amount > 0, torch.lerp(x, thicker, amount), torch.lerp(x, thinner, -amount))


def _resolution(x: Tensor, generator: torch.Generator) -> Tensor:
    """For a third of the images, throw away half the resolution: small scans and crops."""
    coarse = F.interpolate(F.avg_pool2d(x, 2), size=x.shape[2:], mode="bilinear")
    chosen = _uniform(len(x), 0, 1, x, generator)[:, None, None, None] < 0.3
    return torch.where(chosen, coarse, x)


def _ink(x: Tensor, generator: torch.Generator) -> Tensor:
    """Gamma (pressure, scanner curve) and, for a fifth, nearly binary ink."""
    gamma = torch.exp(_uniform(len(x), -0.6, 0.6, x, generator))[:, None, None, None]
    out = x.clamp(min=1e-6).pow(gamma)
    binary = torch.sigmoid((x - 0.35) * 14)
    chosen = _uniform(len(x), 0, 1, x, generator)[:, None, None, None] < 0.2
    return torch.where(chosen, binary * (x > 0.02), out)
