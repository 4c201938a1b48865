"""Where a questioned signature and its closest reference differ, as pictures, many at a time."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import loky
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import scipy.fft
import torch
from PIL import Image
from scipy.ndimage import uniform_filter

from siamese.embedding import on_all_cores
from siamese.model import SignatureNet, seen, to_input
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
        both = canvases.join(stores.vectors.get(ids), how="inner")
        there = part[["questioned_id", "closest_reference_id"]].isin(both.index).all(axis=1)
        known = part[there]
        if known.empty:
            continue
        pairs = [both.loc[known[name]] for name in ("questioned_id", "closest_reference_id")]
        asked, references = (stack_canvases(one, size.height, size.width) for one in pairs)
        vectors = (np.stack(one["embedding"].tolist()) for one in pairs)
        maps = difference_maps(verifier.folded, asked, *vectors)
        with ThreadPoolExecutor(loky.cpu_count()) as pool:
            drawn = list(pool.map(_drawn, references, asked, maps))
        names = known["claim_id"].to_numpy()
        rows = [(name, *pictures) for name, pictures in zip(names, drawn, strict=True)]
        yield pd.DataFrame(rows, columns=EXPLANATIONS.names)


def _batches(parts: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    for part in parts:
        for start in range(0, len(part), _CLAIMS):
            yield part.iloc[start : start + _CLAIMS]


def _drawn(
    reference: Canvases, asked: Canvases, mapped: npt.NDArray[np.float32]
) -> tuple[bytes, bytes]:
    """Overlay and map of one claim, as WebP."""
    over = overlay(reference[None], asked[None])[0]
    return _webp(over), _webp(draw_maps(asked[None], mapped[None])[0])


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
    a, b = (scipy.fft.rfft2(c.astype(np.float32), size) for c in (questioned, references))
    likeness = scipy.fft.irfft2(a * b.conj(), size)
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
    blue, orange = np.array([[0.0, 0.45, 0.70], [0.84, 0.37, 0.0]], np.float32)
    light = (1 - reference * (1 - blue)) * (1 - asked * (1 - orange))
    return np.asarray(paper * light).round().astype(np.uint8)


def difference_maps(
    network: SignatureNet,
    questioned: Canvases,
    vectors: npt.NDArray[np.float32],
    references: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:
    """How much nearer the reference would be without each part of the questioned ink.

    The first-order effect of erasing: the gradient of the distance times the ink (Simonyan et
    al. 2014; Shrikumar et al. 2017), summed over a window of 19 × 19 pixels. Of the learnt shape
    alone: no gradient flows through how strokes run.

    Parameters
    ----------
    questioned : (N, H, W). vectors : (N, E) of the questioned, as the network embeds them.
    references : (N, E) vector of each one's closest reference.

    Returns
    -------
    (N, H, W), in distance; above 0 where the ink is unlike the reference, 0 off the ink.
    """
    device = next(network.parameters()).device
    # What stands beside the shape is in the vector already, made shorter with the shape.
    shape, beside = np.split(vectors, [network.project.out_features], axis=1)
    beside = beside / np.linalg.norm(shape, axis=1, keepdims=True)

    def mapped(start: int) -> npt.NDArray[np.float32]:
        part = slice(start, start + _BATCH)
        inputs = to_input(torch.from_numpy(questioned[part]).to(device)).requires_grad_()
        known, target = (torch.from_numpy(of[part]).to(device) for of in (beside, references))
        made = network.joined(network.shape(seen(inputs)), known)
        distance = (made - target).square().sum(1).clamp(min=1e-8).sqrt().sum()
        (gradient,) = torch.autograd.grad(distance, inputs)
        effect = (gradient * inputs).detach()[:, 0].cpu().numpy()
        summed = uniform_filter(effect, (0, _WINDOW, _WINDOW), mode="constant") * _WINDOW**2
        return np.where(questioned[part] > 0, summed, np.float32(0))

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
