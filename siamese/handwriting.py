"""Signatures from a kinematic model of handwriting: the embedded data source.

The pen's movement is a sum of strokes, each with a lognormal speed profile and a turning
direction (the sigma-lognormal model: Plamondon, Biol. Cybern. 72, 1995; O'Reilly and
Plamondon, Pattern Recognition 42, 2009). A writer is a plan of strokes; a genuine signature
is the plan with small motor noise. A skilled forgery has the right shape and the wrong
kinematics: it was drawn slowly, so strokes hardly overlap, the hand trembles, the pressure
is even, pauses leave blots, and proportions are a little off.

Paper, pen, scan size and compression are drawn alike for genuine and forged, so that nothing
but the handwriting tells them apart.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter
from scipy.special import erf

Floats = npt.NDArray[np.float64]

_POINTS_PER_STROKE = 40
_OVERSAMPLING = 2


@dataclass(frozen=True)
class Plan:
    """A writer's action plan: S virtual targets that strokes run between.

    targets : (S+1, 2) in letter heights, x to the right, y down. bend : (S,) turning of each
    stroke in radians. pen_down : (S,). overlap : share of a stroke during which the next one
    already runs. sigma : width of the lognormal speed profile. pressure : darkness of the pen
    in [0, 1]. pen : width at full pressure, in letter heights. tremble : amplitude of the
    hand's 8-12 Hz tremor, in letter heights. evenness : 0, pressure follows speed; 1, constant.
    """

    targets: Floats
    bend: Floats
    pen_down: npt.NDArray[np.bool_]
    overlap: float
    sigma: float
    pressure: float
    pen: float
    tremble: float
    evenness: float


def new_writer(rng: np.random.Generator) -> Plan:
    """Invent a writer: letters of up- and downstrokes along a baseline, then a flourish."""
    letters = int(rng.integers(4, 10))
    pace, slant = rng.uniform(0.35, 0.9), rng.uniform(-0.15, 0.5)
    tall, roundness = rng.uniform(0.15, 0.5), rng.uniform(0.3, 1.6)
    turn = rng.choice([-1.0, 1.0], p=[0.3, 0.7])
    x, targets, bend, down = 0.0, [(0.0, 0.0)], [], []
    for letter in range(letters):
        capital = letter == 0 or rng.random() < tall * 0.4
        height = rng.uniform(1.6, 2.6) if capital else rng.uniform(0.5, 1.0)
        if rng.random() < tall:
            height *= rng.uniform(1.3, 2.0)
        drop = rng.uniform(0.6, 1.4) if rng.random() < 0.25 else rng.uniform(-0.15, 0.15)
        width = pace * rng.uniform(0.6, 1.5) * (1.6 if capital else 1.0)
        for step_x, y in ((0.45, -height), (0.35, drop), (0.2, -rng.uniform(0.0, 0.35))):
            x += width * step_x
            targets.append((x - slant * y, y))
            bend.append(turn * roundness * rng.uniform(0.5, 1.5))
            down.append(True)
        if rng.random() < 0.18:
            x += pace * 0.6
            targets.append((x, -rng.uniform(0.0, 1.0)))
            bend.append(0.0)
            down.append(False)
    for _ in range(int(rng.integers(1, 5))):
        x += rng.uniform(-2.6, 2.2)
        targets.append((x, rng.uniform(-2.2, 1.6)))
        bend.append(rng.uniform(-2.4, 2.4))
        down.append(True)
    return Plan(
        np.array(targets),
        np.array(bend),
        np.array(down),
        overlap=rng.uniform(0.35, 0.6),
        sigma=rng.uniform(0.25, 0.4),
        pressure=rng.uniform(0.6, 1.0),
        pen=rng.uniform(0.06, 0.13),
        tremble=0.0,
        evenness=rng.uniform(0.0, 0.35),
    )


def genuine_variant(plan: Plan, rng: np.random.Generator) -> Plan:
    """The writer signs again: motor noise on targets, bends and timing; other mood and slant."""
    return replace(
        plan,
        targets=_bent(plan.targets, rng, local=0.10, drift=0.17, slant=0.09),
        bend=plan.bend * rng.normal(1, 0.1, len(plan.bend)) + rng.normal(0, 0.06, len(plan.bend)),
        overlap=float(np.clip(plan.overlap + rng.normal(0, 0.025), 0.25, 0.7)),
        sigma=float(np.clip(plan.sigma + rng.normal(0, 0.015), 0.2, 0.5)),
        pressure=float(np.clip(plan.pressure + rng.normal(0, 0.06), 0.5, 1.0)),
        pen=plan.pen * float(rng.uniform(0.85, 1.2)),
    )


def skilled_forgery(plan: Plan, rng: np.random.Generator) -> Plan:
    """Somebody copies the shape from the paper: slow, trembling, off in its proportions."""
    skill = rng.uniform(0.0, 1.0)  # 1: practised
    copied = _bent(
        plan.targets, rng, local=0.11 - 0.02 * skill, drift=0.20 - 0.05 * skill, slant=0.10
    )
    zones = np.where(copied[:, 1:] < -1.0, rng.normal(1, 0.08), rng.normal(1, 0.05))
    copied = copied * np.concatenate([np.full_like(zones, rng.normal(1, 0.06)), zones], axis=1)
    return replace(
        plan,
        targets=copied,
        bend=plan.bend * rng.normal(0.88, 0.12, len(plan.bend))
        + rng.normal(0, 0.08, len(plan.bend)),
        overlap=float(rng.uniform(0.05, 0.2) + 0.1 * skill),
        sigma=float(rng.uniform(0.2, 0.3)),
        pressure=float(np.clip(plan.pressure + rng.normal(0.05, 0.08), 0.5, 1.0)),
        pen=plan.pen * float(rng.uniform(0.85, 1.2)),
        tremble=float(rng.uniform(0.012, 0.05) * (1.2 - 0.6 * skill)),
        evenness=float(rng.uniform(0.6, 1.0)),
    )


def _bent(
    targets: Floats, rng: np.random.Generator, *, local: float, drift: float, slant: float
) -> Floats:
    """Targets with independent noise, a smooth wander, and another slant and rotation."""
    n = len(targets)
    wander = np.cumsum(rng.normal(0, drift, (n, 2)), axis=0) / np.sqrt(n) * 2
    lean, turn = rng.normal(0, slant), rng.normal(0, slant * 0.6)
    matrix = np.array([[1, turn], [lean - turn, 1]])
    return (targets + rng.normal(0, local, (n, 2)) + wander) @ matrix


def pen_path(plan: Plan, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Where the pen goes.

    Returns
    -------
    points : (T, 2) in letter heights. speed : (T,) ≥ 0, 1 on average. down : (T,) 1 on paper.
    """
    steps = np.diff(plan.targets, axis=0)
    chord = np.hypot(steps[:, 0], steps[:, 1]) + 1e-6
    direction = np.arctan2(steps[:, 1], steps[:, 0])
    bend = np.where(np.abs(plan.bend) < 1e-3, 1e-3, plan.bend)
    start = direction - bend / 2
    arc = chord * (bend / 2) / np.sin(np.clip(bend / 2, -3, 3))
    onset = np.arange(len(steps)) * (1 - plan.overlap)
    times = np.linspace(0, onset[-1] + 1.6, _POINTS_PER_STROKE * len(steps))
    since = np.maximum(times[:, None] - onset[None, :], 1e-9)  # (T, S)
    # The lognormal's distribution function: the share of each stroke already drawn.
    done = 0.5 * (1 + erf((np.log(since) + 0.7) / (plan.sigma * np.sqrt(2))))
    angle = start + bend * done
    radius = arc / bend
    dx = radius * (np.sin(angle) - np.sin(start))
    dy = -radius * (np.cos(angle) - np.cos(start))
    points = plan.targets[0] + np.stack([dx.sum(1), dy.sum(1)], axis=1)
    speed = np.hypot(*np.gradient(points, axis=0).T)
    if plan.tremble:
        # A slow copy takes about three times as long as the fluent original.
        seconds = times * 0.1 * 3.0
        phase = 2 * np.pi * np.cumsum(rng.uniform(8, 12, len(times))) * np.gradient(seconds)
        shake = np.stack([np.sin(phase), np.cos(phase * 0.83 + 1)], axis=1)
        swell = _smooth(rng.uniform(0.2, 1.6, len(times)), 25)
        points = points + plan.tremble * swell[:, None] * shake
    current = np.clip(np.searchsorted(onset + 0.3, times, side="right") - 1, 0, len(steps) - 1)
    return points, speed / (speed.mean() + 1e-9), plan.pen_down[current].astype(float)


def _smooth(values: Floats, window: int) -> Floats:
    """Moving average of the same length."""
    return np.convolve(values, np.ones(window) / window, mode="same")


def draw(plan: Plan, rng: np.random.Generator) -> Image.Image:
    """Ink on white: grey, pen width and darkness by pressure; about 60 px a letter height."""
    points, speed, down = pen_path(plan, rng)
    scale = 60.0 * _OVERSAMPLING
    xy = (points - points.min(axis=0)) * scale + 30 * _OVERSAMPLING
    size = np.ceil(xy.max(axis=0) + 30 * _OVERSAMPLING).astype(int)
    fluent = 1.25 - 0.5 * np.clip(speed / 1.6, 0, 1.2)
    load = plan.evenness * 1.0 + (1 - plan.evenness) * fluent  # slow is heavy
    width = np.clip(plan.pen * scale * load, 1.5, None)
    dark = np.clip(255 * (1 - plan.pressure * np.clip(load, 0.45, 1.15)), 0, 200)
    image = Image.new("L", (int(size[0]), int(size[1])), 255)
    pen = ImageDraw.Draw(image)
    for (x0, y0), (x1, y1), w, grey, on in zip(
        xy[:-1], xy[1:], width[1:], dark[1:], down[1:], strict=True
    ):
        if on:
            pen.line((x0, y0, x1, y1), fill=int(grey), width=max(1, round(w)))
            r = w / 2
            pen.ellipse((x1 - r, y1 - r, x1 + r, y1 + r), fill=int(grey))
    return image.resize(
        (image.width // _OVERSAMPLING, image.height // _OVERSAMPLING), Image.Resampling.BOX
    )


def scan(ink: Image.Image, rng: np.random.Generator) -> bytes:
    """Put ink on paper and scan it: colour, grain, shading, pen colour, size, blur, JPEG or PNG."""
    factor = rng.uniform(0.45, 1.3)
    size = (max(40, round(ink.width * factor)), max(20, round(ink.height * factor)))
    cover = 1 - np.asarray(ink.resize(size, Image.Resampling.BILINEAR), np.float64) / 255
    paper = rng.uniform(205, 255) - np.array([0.0, rng.uniform(0, 8), rng.uniform(0, 28)])
    shade = np.linspace(0, rng.uniform(-12, 0), size[0])[None, :, None]
    grain = rng.normal(0, rng.uniform(0.5, 5), (size[1], size[0], 1))
    pen = np.array([(20, 20, 25), (25, 35, 110), (15, 15, 70)][rng.integers(3)], np.float64)
    pixels = paper + shade + grain
    pixels = pixels * (1 - cover[..., None]) + pen * cover[..., None]
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9)))
    if rng.random() < 0.3:
        image = image.convert("L")
    out = io.BytesIO()
    if rng.random() < 0.5:
        image.save(out, "JPEG", quality=int(rng.integers(55, 95)))
    else:
        image.save(out, "PNG", compress_level=3)  # more effort makes grain no smaller
    return out.getvalue()
