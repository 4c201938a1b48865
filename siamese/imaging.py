"""From the bytes of a picture to the canvas that the network sees.

The chain is the same for training and for scoring, and each step is a small
named function: :func:`~siamese.reading.read_scan` (limits, orientation, transparency, bit depth)
→ :func:`shrink` or :func:`enlarge` (a size to work on)
→ :func:`lift_ink` (Otsu; paper to exactly 0, ink keeps its grey)
→ :func:`remove_specks` → :func:`place_on_canvas` (ink box, scale, centre)
→ :func:`level_ink` (the same histogram of ink for all).

Nothing of the paper, the scanner or the pen's tone survives it. On the public Kaggle scans
the paper alone tells genuine from forged (AUC 0.72 by its mean colour and noise, 0.91 by the
probe in docs/model-card.md), and so does the ink's tone: whatever is left of them is a leak.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from siamese.blobs import find_blobs
from siamese.reading import Grey, ImageRefused, Quality, read_scan

if TYPE_CHECKING:
    from siamese.config import ImagingSettings

QUALITIES: tuple[str, ...] = get_args(Quality)
#: Qualities that can be compared; ``clipped`` and ``scattered`` are never accepted unseen.
USABLE: frozenset[str] = frozenset({"ok", "clipped", "scattered"})

_FAINTEST = 96  # level of the lightest ink on a canvas, well apart from the paper's 0
_SMALL_SIDE = 200  # px; of smaller pictures strokes are under a pixel wide, so they are enlarged
_ENLARGED_SIDE = 432  # px, at least
_WORKING_SIDE = 900  # px; larger scans are area-averaged down first: strokes stay over 2 px wide


@dataclass(frozen=True)
class Canvas:
    """One normalised signature.

    Attributes
    ----------
    pixels : uint8 array (height, width), 0 = no ink, 255 = darkest ink; all 0 when refused.
    width, height : size of the picture in pixels, upright, 0 when it could not be decoded.
    ink_fraction : share of the picture's pixels that are ink, in [0, 1].
    quality : see :data:`Quality`.
    detail : a sentence for people; empty when ``quality`` is ``"ok"``.
    """

    pixels: Grey
    width: int
    height: int
    ink_fraction: float
    quality: Quality
    detail: str

    @property
    def usable(self) -> bool:
        return self.quality in USABLE


def prepare(data: bytes, settings: ImagingSettings, page: int = 1) -> Canvas:
    """Decode and normalise one picture; a bad one gives a reason, never an exception.

    Parameters
    ----------
    data : the file's bytes (PNG, JPEG, TIFF, BMP, WebP, PDF).
    settings : canvas size and limits.
    page : of a file with several, from 1.
    """
    width = height = 0
    try:
        scan = read_scan(data, settings, page, enough=_WORKING_SIDE)
        width, height = scan.width, scan.height
        grey, times = enlarge(shrink(scan.grey))
        ink = remove_specks(lift_ink(grey), times)
        quality, detail = judge(ink, settings, times)
        return Canvas(
            level_ink(place_on_canvas(ink, settings)),
            width,
            height,
            float((ink > 0).mean()),
            quality,
            detail,
        )
    except ImageRefused as refusal:
        return refused_canvas(refusal.quality, refusal.detail, settings, width, height)


def refused_canvas(
    quality: Quality, detail: str, settings: ImagingSettings, width: int = 0, height: int = 0
) -> Canvas:
    """The empty canvas of a picture that cannot be used, with the reason."""
    empty = np.zeros((settings.height, settings.width), np.uint8)
    return Canvas(empty, width, height, 0.0, quality, detail)


def shrink(grey: Grey) -> Grey:
    """Area-average a large scan by a whole factor, so that the rest costs the same for all."""
    factor = max(grey.shape) // _WORKING_SIDE
    if factor < 2:
        return grey
    return np.asarray(Image.fromarray(grey).reduce(factor), dtype=np.uint8)


def enlarge(grey: Grey) -> tuple[Grey, int]:
    """A small picture a whole number of times as large, by bicubic interpolation; how many.

    Its strokes are narrower than a pixel: parted from the paper as they are, they break. Larger
    ones, of a small signature too, stay as they are. Chosen on calibration writers' scans made 72
    to 288 pixels wide.
    """
    side = max(grey.shape)
    if side >= _SMALL_SIDE:
        return grey, 1
    times = math.ceil(_ENLARGED_SIDE / side)
    size = grey.shape[1] * times, grey.shape[0] * times
    resized = Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(resized, dtype=np.uint8), times


def otsu_threshold(grey: Grey) -> int:
    """Grey level that best parts dark from light (Otsu, IEEE Trans. SMC 9(1), 1979).

    >>> otsu_threshold(np.array([[10, 10, 12, 200, 201]], dtype=np.uint8))
    12
    """
    return _otsu(_histogram(grey))


def _histogram(grey: Grey) -> npt.NDArray[np.float64]:
    """How many pixels have each of the 256 levels."""
    return np.array(Image.fromarray(grey).histogram(), np.float64)


def _otsu(counts: npt.NDArray[np.float64]) -> int:
    levels = np.arange(256)
    below = np.cumsum(counts)
    above = below[-1] - below
    sum_below = np.cumsum(counts * levels)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = sum_below / below - (sum_below[-1] - sum_below) / above
        between = np.where((below > 0) & (above > 0), below * above * gap**2, 0.0)
    return int(np.argmax(between))


def lift_ink(grey: Grey) -> Grey:
    """Take the ink off the paper: paper becomes exactly 0, ink its darkness in 1..255.

    Darkness is measured between the paper's median and the ink's darkest twentieth, so
    neither the paper's brightness nor the scanner's gain is left in the result.

    Raises
    ------
    ImageRefused : ``blank`` when ink and paper cannot be told apart, ``overfull`` when
        over half of the picture is dark.
    """
    counts = _histogram(grey)
    threshold = _otsu(counts)
    levels = np.arange(256)
    ink, paper = np.where(levels <= threshold, counts, 0), np.where(levels > threshold, counts, 0)
    if not ink.any() or not paper.any():
        raise ImageRefused("blank", "The picture is one even colour; there is no ink on it.")
    light, dark = _quantile(paper, 0.5), _quantile(ink, 0.05)
    mean = paper @ levels / paper.sum()
    noise = float(np.sqrt(paper @ (levels - mean) ** 2 / paper.sum()))
    if light - dark < max(30.0, 3.0 * noise):
        raise ImageRefused("blank", "Nothing on the picture is clearly darker than its paper.")
    if ink.sum() > 0.5 * counts.sum():
        raise ImageRefused("overfull", "More than half of the picture is dark: no signature.")
    darkness = (light - levels.astype(np.float32)) * np.float32(255.0 / (light - dark))
    table = np.where(levels <= threshold, np.clip(darkness, 1, 255), 0).astype(np.uint8)
    return _mapped(grey, table)


def _mapped(grey: Grey, table: npt.NDArray[np.uint8]) -> Grey:
    """Each level replaced by the table's: what ``table[grey]`` is, sooner."""
    return np.array(Image.fromarray(grey).point(table.tolist()), np.uint8)


def _quantile(counts: npt.NDArray[np.float64], share: float) -> float:
    """The level below which that share of the pixels lies, interpolated between pixels."""
    place = share * (counts.sum() - 1)
    low, high = np.searchsorted(np.cumsum(counts), [np.floor(place), np.ceil(place)], "right")
    return float(low + (high - low) * (place % 1))


def remove_specks(ink: Grey, times: int = 1) -> Grey:
    """Drop blobs that are far smaller than the signature: dust and paper noise, not pen.

    Parameters
    ----------
    times : by which the picture was enlarged, and its dust with it.

    Raises
    ------
    ImageRefused : ``blank`` when nothing but specks is there.
    """
    if not ink.any():
        raise ImageRefused("blank", "There are only specks on the picture, no strokes.")
    top, bottom, left, right = ink_box(ink)
    written = ink[top:bottom, left:right]
    runs = find_blobs(written > 0)
    areas = np.bincount(runs.blob, runs.end - runs.start)
    small = areas < max(4.0 * times**2, 0.001 * areas.sum(), 0.02 * areas.max())
    if small.all():
        raise ImageRefused("blank", "There are only specks on the picture, no strokes.")
    kept = np.zeros_like(ink)
    kept[top:bottom, left:right] = written
    kept[top:bottom, left:right][runs.places(small[runs.blob])] = 0
    return kept


def ink_box(ink: Grey) -> tuple[int, int, int, int]:
    """Smallest box around the ink: (top, bottom, left, right), ends exclusive."""
    rows = np.flatnonzero(ink.any(axis=1))
    columns = np.flatnonzero(ink.any(axis=0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def judge(ink: Grey, settings: ImagingSettings, times: int = 1) -> tuple[Quality, str]:
    """Quality gate on lifted ink.

    Parameters
    ----------
    times : by which the picture was enlarged; sizes are those before it.

    Raises
    ------
    ImageRefused : ``too_small`` when the ink box is under the configured size.
    """
    top, bottom, left, right = ink_box(ink)
    wide, high = (right - left) // times, (bottom - top) // times
    if wide < settings.min_ink_width or high < settings.min_ink_height:
        raise ImageRefused(
            "too_small",
            f"The ink covers only {wide} × {high} pixels; at least "
            f"{settings.min_ink_width} × {settings.min_ink_height} are needed.",
        )
    edges = {"top": ink[0], "bottom": ink[-1], "left": ink[:, 0], "right": ink[:, -1]}
    for name, line in edges.items():
        if (line > 0).mean() > settings.max_edge_ink:
            return "clipped", f"Ink runs along the {name} edge: the signature may be cut off."
    gap = _widest_gap(ink[top:bottom, left:right])
    if gap > settings.max_gap:
        return "scattered", (
            f"Two groups of ink lie {gap:.0%} of the width apart: "
            "there may be more than one signature or other writing."
        )
    return "ok", ""


def _widest_gap(ink: Grey) -> float:
    """Widest run of empty columns, as a share of the width, between two real groups of ink."""
    columns = np.flatnonzero(ink.any(axis=0))
    gaps = np.diff(columns) - 1
    if len(gaps) == 0:
        return 0.0
    weight = np.cumsum((ink > 0).sum(axis=0))
    cut = int(np.argmax(gaps))
    left_share = weight[columns[cut]] / weight[-1]
    return float(gaps[cut] / ink.shape[1]) if 0.1 < left_share < 0.9 else 0.0


def place_on_canvas(ink: Grey, settings: ImagingSettings) -> Grey:
    """Scale the ink box to fit the canvas, keeping its proportions, and centre it."""
    top, bottom, left, right = ink_box(ink)
    cropped = Image.fromarray(ink[top:bottom, left:right])
    room_h, room_w = settings.height - 2 * settings.margin, settings.width - 2 * settings.margin
    scale = min(room_h / cropped.height, room_w / cropped.width)
    size = (max(1, round(cropped.width * scale)), max(1, round(cropped.height * scale)))
    placed = np.asarray(cropped.resize(size, Image.Resampling.BILINEAR))
    canvas = np.zeros((settings.height, settings.width), np.uint8)
    y, x = (settings.height - size[1]) // 2, (settings.width - size[0]) // 2
    canvas[y : y + size[1], x : x + size[0]] = placed
    return canvas


def level_ink(canvas: Grey) -> Grey:
    """Give every signature the same histogram of ink: its own darkness by rank, 96..255.

    Where a writer presses harder is kept; how dark this pen on this scanner is, is not.

    >>> level_ink(np.array([[0, 10, 20, 20]], dtype=np.uint8)).tolist()
    [[0, 122, 202, 202]]
    """
    counts = _histogram(canvas)
    counts[0] = 0
    rank = (np.cumsum(counts) - counts / 2) / counts.sum()
    table = np.round(_FAINTEST + (255 - _FAINTEST) * rank).astype(np.uint8)
    table[0] = 0
    return _mapped(canvas, table)
