"""Augmentation of a batch of canvases, on the device, with no loop over images.

In training :func:`augment` varies each signature as one hand, pen and scanner do. What is found of
strokes before it must hold of :func:`bend` (one hand) and of :data:`RESCANS` (other pens and
scanners) too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial, reduce

import torch
from torch import Tensor
from torch.nn import functional as F


def augment(canvases: Tensor, generator: torch.Generator) -> Tensor:
    """Randomly distort each image: affine, stroke thickness, resolution, ink.

    Mild by design: a signature's slant, size and pen may vary, its shape may not. No flips.

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


def bend(canvases: Tensor, generator: torch.Generator) -> Tensor:
    """Turn, stretch, slant and bend each a little: what its hand might have written as well.

    Parameters and result as of :func:`augment`.
    """
    n, _, height, width = canvases.shape

    def normal(*shape: int) -> Tensor:
        return torch.randn(n, *shape, generator=generator, device=canvases.device)

    theta = _affine_matrix(
        angle=0.03 * normal(),
        shear=0.15 * normal(),
        scale_x=1 + 0.04 * normal(),
        scale_y=1 + 0.06 * normal(),
        aspect=height / width,
    )
    grid = F.affine_grid(theta, list(canvases.shape), align_corners=False)
    knots = 0.025 * normal(2, 5, 9)
    knots[:, 1] *= width / height  # as many pixels down as along
    return F.grid_sample(canvases, grid + _smooth(knots, height, width), align_corners=False)


def _coarse(x: Tensor, times: int) -> Tensor:
    """As from a picture that many times as small."""
    small = F.avg_pool2d(x, times)
    return F.interpolate(small, x.shape[2:], mode="bicubic", align_corners=False).clamp(0, 1)


def _binary(x: Tensor) -> Tensor:
    return (x > 0.35).float()


def _largest(x: Tensor, before: int, after: int) -> Tensor:
    """The largest of each pixel and so many before and after it, across and down.

    As ``max_pool2d`` has it, which takes several times as long for a single channel.
    """
    height, width = x.shape[2:]
    x = F.pad(x, (before, after, before, after), value=-math.inf)
    places = range(before + after + 1)
    x = reduce(torch.maximum, [x[..., i : i + width] for i in places])
    return reduce(torch.maximum, [x[..., i : i + height, :] for i in places])


def _thick(x: Tensor) -> Tensor:
    return _largest(x, 1, 1)


def _thin(x: Tensor) -> Tensor:
    return -_largest(-x, 1, 1)


#: As other scanners and pens would have a batch of canvases, each strongly, and all of it alike.
RESCANS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "72 pixels wide": partial(_coarse, times=6),
    "144 pixels wide": partial(_coarse, times=3),
    "black and white": _binary,
    "thick pen": _thick,
    "thin pen": _thin,
}


def _uniform(n: int, low: float, high: float, like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator, device=like.device) * (high - low) + low


def _smooth(knots: Tensor, height: int, width: int) -> Tensor:
    """Shifts (N, H, W, 2) to add to a grid, that bend smoothly from knot to knot (N, 2, …)."""
    shifts = F.interpolate(knots, (height, width), mode="bicubic", align_corners=True)
    return shifts.permute(0, 2, 3, 1)


def _affine_matrix(
    *, angle: Tensor, shear: Tensor, scale_x: Tensor, scale_y: Tensor, aspect: float
) -> Tensor:
    """Matrices (N, 2, 3) for ``affine_grid``, with no shift; scales are those of the grid."""
    theta = torch.zeros(len(angle), 2, 3, device=angle.device)
    cos, sin = angle.cos(), angle.sin()
    theta[:, 0, 0] = cos * scale_x
    theta[:, 0, 1] = (sin + shear) * scale_x * aspect
    theta[:, 1, 0] = -sin * scale_y / aspect
    theta[:, 1, 1] = cos * scale_y
    return theta


def _affine(x: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate ±2°, scale 0.94-1.06 in each direction, shear ±0.03, shift 4 %.

    Little: how much a signature leans, and how high it is for its width, a writer keeps and a
    forger does not; a network that is taught to overlook it tells forgeries less well.
    """
    n, _, height, width = x.shape
    angle = _uniform(n, -2, 2, x, generator) * (math.pi / 180)
    shear = _uniform(n, -0.03, 0.03, x, generator)
    size = _uniform(n, 0.96, 1.04, x, generator)
    stretch = _uniform(n, -0.02, 0.02, x, generator)
    theta = _affine_matrix(
        angle=angle,
        shear=shear,
        scale_x=1 / (size * (1 + stretch)),
        scale_y=1 / (size * (1 - stretch)),
        aspect=height / width,
    )
    theta[:, 0, 2] = _uniform(n, -0.08, 0.08, x, generator)
    theta[:, 1, 2] = _uniform(n, -0.08, 0.08, x, generator)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def _thickness(x: Tensor, generator: torch.Generator) -> Tensor:
    """Blend towards the dilated or the eroded image: a thicker or a thinner pen."""
    amount = _uniform(len(x), -0.6, 0.8, x, generator)[:, None, None, None]
    thicker = _thick(x)
    thinner = -_largest(-x, 1, 0)
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
