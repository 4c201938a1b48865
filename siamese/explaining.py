"""Where a questioned signature and its closest reference differ, as pictures, many at a time."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import torch
from PIL import Image
from torch.nn import functional as F

from siamese.embedding import on_all_cores
from siamese.model import SignatureNet, to_input
from siamese.scoring import Stores
from siamese.store import stack_canvases
from siamese.verifier import Verifier

Canvases = npt.NDArray[np.uint8]
Colours = npt.NDArray[np.uint8]

_CLAIMS = 32  # at a time
_BATCH = 8  # with gradients, on one core; larger ones take memory and no less time
_WINDOW = 19  # pixels: about two strokes, so that a map shows parts and not pixels

#: One row an explained claim; both pictures are WebP.
EXPLANATIONS = pa.schema(
    [("claim_id", pa.string()), ("overlay", pa.binary()), ("difference", pa.binary())]
)


def explain(
    decisions: Iterable[pd.DataFrame], verifier: Verifier, store: Path
) -> Iterator[pd.DataFrame]:
    """An overlay and a difference map of each claim of a decisions table, in its order.

    Parameters
    ----------
    decisions : the table in parts.
    store : folder of canvases and vectors. A claim whose own are no longer in it is left out.

    Yields
    ------
    Some rows of :data:`EXPLANATIONS` at a time.
    """
    size = verifier.imaging_settings
    stores = Stores.of(verifier, store)
    for part in _batches(decisions):
        ids = [*part["questioned_id"], *part["closest_reference_id"]]
        canvases = stores.canvases.get(ids, ["canvas"])
        vectors = stores.vectors.get(part["closest_reference_id"].tolist())
        there = part[["questioned_id", "closest_reference_id"]].isin(canvases.index).all(axis=1)
        there &= part["closest_reference_id"].isin(vectors.index)
        known = part[there]
        if known.empty:
            continue
        asked, references = (
            stack_canvases(canvases.loc[known[column]], size.height, size.width)
            for column in ("questioned_id", "closest_reference_id")
        )
        nearest = np.stack(vectors.loc[known["closest_reference_id"], "embedding"].tolist())
        maps = difference_maps(verifier.network, asked, nearest)
        yield pd.DataFrame(
            {
                "claim_id": known["claim_id"],
                "overlay": [_webp(one) for one in overlay(references, asked)],
                "difference": [_webp(one) for one in draw_maps(asked, maps)],
            }
        )


def _batches(parts: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    for part in parts:
        for start in range(0, len(part), _CLAIMS):
            yield part.iloc[start : start + _CLAIMS]


def _webp(picture: Colours) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "WEBP", quality=70, method=1)
    return out.getvalue()


def align(references: Canvases, questioned: Canvases) -> Canvases:
    """References (N, H, W) moved, each as a whole, to where they cover the questioned best.

    By the peak of their cross-correlation; what leaves the canvas is cut off.
    """
    height, width = references.shape[1:]
    size = (2 * height, 2 * width)  # padded, so that nothing wraps around
    a, b = (np.fft.rfft2(c.astype(np.float32), size) for c in (questioned, references))
    likeness = np.fft.irfft2(a * b.conj(), size)
    peaks = likeness.reshape(len(references), -1).argmax(1)
    moved = np.zeros_like(references)
    for out, reference, peak in zip(moved, references, peaks, strict=True):
        down, right = (
            int(p) - (s if p > s // 2 else 0)
            for p, s in zip(np.unravel_index(peak, size), size, strict=True)
        )
        out[_kept(down, height), _kept(right, width)] = reference[
            _kept(-down, height), _kept(-right, width)
        ]
    return moved


def _kept(shift: int, length: int) -> slice:
    return slice(max(shift, 0), min(length + shift, length))


def overlay(references: Canvases, questioned: Canvases) -> Colours:
    """Both signatures in one picture (N, H, W, 3): blue reference, orange questioned.

    Where both have ink it is dark: what shows in colour is what one of them lacks.
    """
    paper = 255.0
    reference = align(references, questioned).astype(np.float32)[..., None] / 255
    asked = questioned.astype(np.float32)[..., None] / 255
    # Ink takes away light: each colour is what is left of white.
    blue, orange = np.array([0.0, 0.45, 0.70]), np.array([0.84, 0.37, 0.0])
    light = (1 - reference * (1 - blue)) * (1 - asked * (1 - orange))
    return np.asarray(paper * light).round().astype(np.uint8)


def difference_maps(
    network: SignatureNet, questioned: Canvases, references: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """How much nearer the reference would be without each part of the questioned ink.

    The first-order effect of erasing: the gradient of the distance times the ink (Simonyan et
    al. 2014; Shrikumar et al. 2017), summed over a window of 19 × 19 pixels.

    Parameters
    ----------
    questioned : (N, H, W). references : (N, E) vector of each one's closest reference.

    Returns
    -------
    (N, H, W), in distance; above 0 where the ink is unlike the reference, 0 off the ink.
    """
    device = next(network.parameters()).device

    def mapped(start: int) -> npt.NDArray[np.float32]:
        part = questioned[start : start + _BATCH]
        inputs = to_input(torch.from_numpy(part).to(device)).requires_grad_()
        target = torch.from_numpy(references[start : start + _BATCH]).to(device)
        distance = (network(inputs) - target).square().sum(1).clamp(min=1e-8).sqrt().sum()
        (gradient,) = torch.autograd.grad(distance, inputs)
        effect = (gradient * inputs).detach()
        summed = F.avg_pool2d(effect, _WINDOW, 1, _WINDOW // 2) * _WINDOW**2
        found: npt.NDArray[np.float32] = (summed * (inputs > 0))[:, 0].cpu().numpy()
        return found

    starts = range(0, len(questioned), _BATCH)
    made = on_all_cores(mapped, starts) if device.type == "cpu" else map(mapped, starts)
    return np.concatenate([np.zeros((0, *questioned.shape[1:]), np.float32), *made])


def draw_maps(questioned: Canvases, maps: npt.NDArray[np.float32]) -> Colours:
    """Questioned signatures (N, H, W, 3) in grey, red where a map is above 0.

    The reddest part of each picture is its own greatest difference.
    """
    ink = questioned.astype(np.float32) / 255
    most = maps.reshape(len(maps), -1).max(1, initial=1e-6)[:, None, None]
    red = np.clip(maps / most, 0, 1) * (ink > 0)
    calm = 1 - 0.65 * ink
    light = np.stack([calm + (0.85 - calm) * red, calm * (1 - red), calm * (1 - red)], axis=-1)
    return np.asarray(255 * light).round().clip(0, 255).astype(np.uint8)
