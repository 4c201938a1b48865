"""Pictures of results. Each function returns a matplotlib figure; none keeps global state."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import ndtri

from siamese.calibration import Calibration
from siamese.metrics import auc, det_curve, false_accept_rate, false_reject_rate
from siamese.tables import DECISIONS
from siamese.training import Epoch
from siamese.trials import Trials

#: Okabe-Ito colours: told apart by the colour-blind, and on light and dark.
COLOURS = {"genuine": "#009E73", "skilled_forgery": "#D55E00", "random_forgery": "#0072B2"}
_NAMES = {"genuine": "genuine", "skilled_forgery": "skilled forgery", "random_forgery": "random"}
_TICKS = [0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9]
#: Stands in for the page's own text colour in SVG.
_INK = "#010203"

HISTOGRAM_EDGES: npt.NDArray[np.float64] = np.linspace(0, 2, 61)


def roc_figure(trials: Trials) -> Figure:
    """ROC of genuine against skilled and against random forgeries."""
    figure, axes = _new("False accept rate", "True accept rate")
    for kind, one in _against(trials):
        det = det_curve(-one.distance, one.label)
        area = float(auc(-one.distance, one.label))
        axes.plot(
            det.far, 1 - det.frr, color=COLOURS[kind], label=f"{_NAMES[kind]}, AUC {area:.3f}"
        )
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    axes.legend(loc="lower right")
    return figure


def det_figure(trials: Trials, calibration: Calibration) -> Figure:
    """DET on normal-deviate axes (Martin et al., Eurospeech 1997), with the frozen thresholds."""
    figure, axes = _new("FAR", "FRR")
    _draw_det(axes, trials, calibration)
    axes.legend(loc="lower left", fontsize=8)
    return figure


def distance_figure(trials: Trials, calibration: Calibration) -> Figure:
    """Histogram of distances by kind, with the thresholds."""
    figure, axes = _new("Distance", "Share of pairs")
    for kind in COLOURS:
        found = trials.of(kind).distance
        if len(found):
            axes.stairs(
                _shares(found), HISTOGRAM_EDGES, fill=True, alpha=0.45, color=COLOURS[kind],
                label=_NAMES[kind],
            )  # fmt: skip
    _thresholds(axes, calibration)
    axes.legend()
    return figure


def decisions_figure(trials: Trials, calibration: Calibration) -> Figure:
    """What is decided on each kind of pair: counts, shaded by their share of the kind."""
    decided = calibration.decide(trials.distance)
    outcomes = DECISIONS[:3]  # a pair is never unusable
    kinds = [kind for kind in COLOURS if (trials.kind == kind).any()]
    counts = np.array(
        [[((trials.kind == k) & (decided == d)).sum() for d in outcomes] for k in kinds]
    )
    shares = counts / counts.sum(axis=1, keepdims=True)
    figure = Figure(figsize=(5.6, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(outcomes)), outcomes)
    axes.set_yticks(range(len(kinds)), [_NAMES[kind] for kind in kinds])
    for (row, column), share in np.ndenumerate(shares):
        axes.text(
            column, row, f"{counts[row, column]:,}\n{share:.1%}", ha="center", va="center",
            color="white" if share > 0.6 else "black",
        )  # fmt: skip
    return figure


def training_figure(history: Sequence[Epoch]) -> Figure:
    """Loss terms and held-out EERs by step."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = [epoch.step for epoch in history]
    for name in ("loss_genuine", "loss_skilled", "loss_random"):
        left.plot(steps, [getattr(e, name) for e in history], label=name.removeprefix("loss_"))
    for name in ("eer_skilled", "eer_random"):
        right.plot(steps, [getattr(e, name) for e in history], label=name.removeprefix("eer_"))
    left.set(xlabel="step", title="Loss terms, training writers")
    right.set(xlabel="step", title="EER, calibration writers", ylim=(0, None))
    for axes in (left, right):
        axes.legend()
        axes.grid(alpha=0.3)
    return figure


def pair_sheet(
    references: npt.NDArray[np.uint8], questioned: npt.NDArray[np.uint8], titles: Sequence[str]
) -> Figure:
    """Reference beside questioned, a title over each pair, four pairs a row."""
    # Brings torch's compiler with it, 150 MB, which whoever scores has no use for.
    from torchvision.utils import make_grid  # noqa: PLC0415

    rows = -(-len(titles) // 4)
    figure = Figure(figsize=(15, 1.35 * rows), layout="constrained")
    cells = figure.subplots(rows, 4, squeeze=False).ravel()
    for cell in cells:
        cell.axis("off")
    for cell, left, right, title in zip(cells, references, questioned, titles, strict=False):
        both = torch.from_numpy(255 - np.stack([left, right]))[:, None]
        cell.imshow(make_grid(both, nrow=2, padding=3, pad_value=150)[0], cmap="gray")
        cell.set_title(title, fontsize=8)
    return figure


def claims_histogram_svg(
    distances: npt.NDArray[np.float64], calibrated: Trials | None, calibration: Calibration
) -> str:
    """Distances of a batch of claims over those of the calibration pairs, as inline SVG."""
    figure, axes = _new("Distance to the references", "Share", size=(5.6, 3.1))
    for kind in COLOURS:
        known = calibrated.of(kind).distance if calibrated else np.zeros(0)
        if len(known):
            axes.stairs(
                _shares(known), HISTOGRAM_EDGES, color=COLOURS[kind],
                label=f"calibration: {_NAMES[kind]}",
            )  # fmt: skip
    if len(distances):
        axes.stairs(
            _shares(distances), HISTOGRAM_EDGES, fill=True, alpha=0.35, color="grey", label="claims"
        )
    _thresholds(axes, calibration)
    axes.legend(fontsize=7, framealpha=0)
    return _svg(figure)


def det_svg(trials: Trials, calibration: Calibration) -> str:
    """DET of the test writers with the policy's two operating points, as inline SVG."""
    figure, axes = _new("FAR", "FRR", size=(5.6, 3.1))
    _draw_det(axes, trials, calibration)
    n = trials.n_references
    axes.set_title(f"Test writers, {n} reference{'' if n == 1 else 's'}", fontsize=8)
    axes.legend(fontsize=7, framealpha=0)
    return _svg(figure)


def _shares(distances: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Share of the distances in each bin of the histogram."""
    return np.histogram(distances, HISTOGRAM_EDGES)[0] / len(distances)


def _operating_point(trials: Trials, at: float) -> tuple[float, float]:
    """FAR and FRR when distances up to ``at`` are accepted."""
    far = false_accept_rate(-trials.distance, trials.label, -at)
    frr = false_reject_rate(-trials.distance, trials.label, -at)
    return float(far), float(frr)


def _against(trials: Trials) -> list[tuple[str, Trials]]:
    """Genuine with each kind of forgery that is there."""
    return [
        (kind, trials.of("genuine", kind))
        for kind in ("skilled_forgery", "random_forgery")
        if (trials.kind == kind).any()
    ]


def _new(x: str, y: str, size: tuple[float, float] = (5.6, 4.4)) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y)
    axes.grid(alpha=0.25)
    return figure, axes


def _deviates(far: float, frr: float) -> tuple[list[float], list[float]]:
    clipped = np.clip([far, frr], _TICKS[0], _TICKS[-1])
    return [float(ndtri(clipped[0]))], [float(ndtri(clipped[1]))]


def _draw_det(axes: Axes, trials: Trials, calibration: Calibration) -> None:
    """The curve of each kind of forgery, and the two thresholds on it."""
    for kind, one in _against(trials):
        det = det_curve(-one.distance, one.label)
        rows = np.unique(np.linspace(0, len(det.far) - 1, 400).astype(int))
        x, y = (ndtri(np.clip(c[rows], _TICKS[0], _TICKS[-1])) for c in (det.far, det.frr))
        axes.plot(x, y, color=COLOURS[kind], label=_NAMES[kind])
        for name, at, marker in (
            ("accept", calibration.accept_at, "o"),
            ("reject", calibration.reject_at, "s"),
        ):
            axes.plot(
                *_deviates(*_operating_point(one, at)),
                marker,
                color=COLOURS[kind],
                label=f"{name} threshold, {_NAMES[kind]}",
            )
    ticks = ndtri(_TICKS)
    labels = [f"{tick:.1%}" if tick < 0.01 else f"{tick:.0%}" for tick in _TICKS]
    axes.set_xticks(ticks, labels)
    axes.set_yticks(ticks, labels)
    axes.set_xlim(ticks[0], ticks[-1])
    axes.set_ylim(ticks[0], ticks[-1])


def _thresholds(axes: Axes, calibration: Calibration) -> None:
    axes.axvline(calibration.accept_at, color="grey", linestyle="--", linewidth=1)
    axes.axvline(calibration.reject_at, color="grey", linestyle="-.", linewidth=1)
    top = axes.get_ylim()[1]
    axes.text(calibration.accept_at, top, "accept ", ha="right", va="top", fontsize=7)
    axes.text(calibration.reject_at, top, " reject", ha="left", va="top", fontsize=7)


def _svg(figure: Figure) -> str:
    """Inline SVG that takes the page's text colour, so that it works in light and dark."""
    for axes in figure.axes:
        for spine in axes.spines.values():
            spine.set_color(_INK)
        axes.tick_params(colors=_INK, labelsize=7)
        for text in (
            axes.xaxis.label, axes.yaxis.label, axes.title, *axes.texts,
            *(legend.get_texts() if (legend := axes.get_legend()) else ()),
        ):  # fmt: skip
            text.set_color(_INK)
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :].replace(_INK, "currentColor")
