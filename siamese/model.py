"""The shared-weight network: a canvas in, a unit vector out.

Two signatures are compared by the Euclidean distance between their vectors, in [0, 2].
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from copy import deepcopy

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from siamese import strokes, telling, words
from siamese.config import NetworkSettings
from siamese.edges import find_edges
from siamese.errors import RunError

Change = Callable[[Tensor], Tensor]

_AT_ONCE = 64  # canvases that are changed together


class Block(nn.Module):
    """Residual block, two 3×3 convolutions, the first with the stride."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity(),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:  # (B, inputs, H, W)
        y = F.relu(self.first_norm(self.first(x)), inplace=True)
        y = self.second_norm(self.second(y))
        return F.relu(y + self.shortcut(x), inplace=True)  # (B, outputs, H/stride, W/stride)


class SignatureNet(nn.Module):
    """What is learnt of a signature's shape, and how its strokes run, as one vector.

    The shape: a residual network pooled into a grid of 3 × 12 cells, so that what is where
    stays. The strokes: how they run (:mod:`siamese.strokes`) and of what pieces they are
    (:mod:`siamese.words`), along the axes that tell writers from their forgers. Vectors of hands
    that vary much lie closer, and those of hands like which there are many lie farther apart: one
    threshold then fits all.

    Input: ``(B, 1, H, W)`` in [0, 1], ink bright. Output: ``(B, length)``, unit length.
    """

    grid = (3, 12)  # rows and columns of cells; chosen on Dutch writers 031-048
    #: Lengths of the parts of a description.
    parts = (*strokes.PARTS, words.LENGTH)
    #: What each counts. Chosen, with number and weights of axes, in five folds of training and
    #: calibration writers.
    part_weights = (1.2, 0.7, 1.05)
    # Of a distance between strokes, beside one between shapes; chosen on Dutch writers 031-048
    # and Hindi writers 061-080, after 500 steps on those before them.
    stroke_weight = 0.7
    # A number that all vectors share before they are made of unit length: how long a vector was
    # is then not lost, which tells too.
    shared = 5.6
    most_scaled = 0.7  # of the logarithm of a hand's scale: twice as far, or half
    # Who signs like many others is held against them by chance more often: of the logarithm of
    # the distance to the nearest hands of a cohort, this share is taken to the scale. What
    # cohorts do for scores of voices (T-norm: Auckenthaler et al., Digital Signal Processing 10,
    # 2000), done for vectors. Share and number chosen in five folds of training and calibration
    # writers; what it brings is the row ``no_cohort`` of ``benchmarks/accuracy.py``.
    crowded = 0.3
    nearest = 5
    most_known = 512  # in the cohort

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        first, *rest = settings.widths
        self.stem = nn.Sequential(
            nn.Conv2d(1, first, 5, 3, 1, bias=False), nn.BatchNorm2d(first), nn.ReLU(inplace=True)
        )
        widths = [first, *rest]
        self.blocks = nn.Sequential(*(Block(a, b, 2) for a, b in itertools.pairwise(widths)))
        self.project = nn.Linear(widths[-1] * math.prod(self.grid), settings.embedding)
        self.stroke_axes: Tensor
        self.stroke_mean: Tensor
        self.register_buffer("stroke_axes", torch.zeros(settings.strokes, sum(self.parts)))
        self.register_buffer("stroke_mean", torch.zeros(settings.strokes))
        for name, value in words.no_words()._asdict().items():
            self.register_buffer(f"word_{name}", value)
        self.scale_weights: Tensor
        self.scale_usual: Tensor
        self.register_buffer("scale_weights", torch.zeros(sum(self.parts)))
        self.register_buffer("scale_usual", torch.zeros(()))
        self.cohort: Tensor
        self.cohort_usual: Tensor
        self.register_buffer("cohort", torch.zeros(self.most_known, settings.strokes + 1))
        self.register_buffer("cohort_usual", torch.tensor(math.log(2) / 2))  # from nobody

    @property
    def vocabulary(self) -> words.Words:
        return words.Words(*(getattr(self, f"word_{name}") for name in words.Words._fields))

    def know_words(self, found: words.Words) -> None:
        """Set the words that :meth:`describe` tells pieces of strokes by."""
        for mine, new in zip(self.vocabulary, found, strict=True):
            mine.copy_(new)

    def describe(self, canvases: Tensor) -> Tensor:
        """How strokes run and of what pieces they are, (B, sum of :attr:`parts`).

        No gradient flows through it.
        """
        found = find_edges(canvases)
        return torch.cat([strokes.describe(found), words.describe(found, self.vocabulary)], 1)

    def fit_strokes(
        self,
        told: telling.Described,
        bent: npt.NDArray[np.float32],
        rescanned: telling.Described,
    ) -> None:
        """Set axes, scale of hands and cohort from what :meth:`describe` tells of training ones.

        See :func:`siamese.telling.telling_axes`, :func:`siamese.telling.scale_of_hands` and
        :func:`siamese.telling.cohort_of`.

        Parameters
        ----------
        bent : what bending changed in the descriptions of genuine ones.
        rescanned : signatures as other scanners and pens would have them.
        """
        axes, mean = telling.telling_axes(
            told, bent, self.parts, self.part_weights, len(self.stroke_axes)
        )
        self.stroke_axes.copy_(torch.from_numpy(axes))
        self.stroke_mean.copy_(torch.from_numpy(mean))
        weights, usual = telling.scale_of_hands([told, rescanned], axes)
        self.scale_weights.copy_(torch.from_numpy(weights))
        self.scale_usual.fill_(usual)
        self._know_cohort(told, rescanned)

    def _know_cohort(self, told: telling.Described, rescanned: telling.Described) -> None:
        device = self.stroke_axes.device
        scans = [torch.from_numpy(one.descriptions).to(device) for one in (told, rescanned)]
        alone = [F.normalize(self._sharing(*self._along(one)), dim=1) for one in scans]
        vectors = np.stack([one.cpu().numpy() for one in alone])
        means, whose = telling.cohort_of(vectors, told, self.most_known)
        self.cohort[: len(means)] = torch.from_numpy(means).to(device)
        own = np.zeros((len(told.writers), self.most_known), bool)
        own[:, : len(whose)] = told.writers[:, None] == whose
        far = self._to_cohort(alone[0], torch.from_numpy(own).to(device)).log()
        self.cohort_usual.copy_(far[torch.from_numpy(told.genuine).to(device)].mean())

    def forward(self, canvases: Tensor) -> Tensor:
        return self.joined(self.shape(seen(canvases)), self.beside(canvases))

    def shape(self, canvases: Tensor) -> Tensor:
        """The learnt part alone, (B, embedding), unit length: what training works on.

        Takes canvases as :func:`seen`.
        """
        x = self.blocks(self.stem(canvases))  # (B, C, H/2^n, W/2^n)
        # In float32 even under autocast: a bfloat16 vector is off unit length by up to 1 %.
        with torch.autocast(x.device.type, enabled=False):
            x = F.adaptive_avg_pool2d(x.float(), self.grid).flatten(1)  # (B, C * 36)
            return F.normalize(self.project(x), dim=1)  # (B, E)

    def beside(self, canvases: Tensor) -> Tensor:
        """What stands beside the shape, (B, strokes + 1), or (B, 0): no step changes it."""
        if len(self.stroke_axes) == 0:
            return canvases.new_zeros(len(canvases), 0)
        with torch.autocast(canvases.device.type, enabled=False):
            run, scale = self._along(self.describe(canvases))
            far = self._to_cohort(F.normalize(self._sharing(run, scale), dim=1))
            return self._sharing(run, scale + self.crowded * (far.log() - self.cohort_usual))

    def _along(self, described: Tensor) -> tuple[Tensor, Tensor]:
        """Strokes along the axes, (B, strokes), and the logarithm of the hand's scale, (B,)."""
        scale = described @ self.scale_weights - self.scale_usual
        run = described @ self.stroke_axes.T - self.stroke_mean
        return run, scale.clamp(-self.most_scaled, self.most_scaled)

    def _sharing(self, run: Tensor, scale: Tensor) -> Tensor:
        """Strokes, and beside them what all share, (B, strokes + 1)."""
        # The more there is of what all share, the closer the unit vectors lie.
        return torch.cat([self.stroke_weight * run, self.shared * scale.exp()[:, None]], 1)

    def _to_cohort(self, alone: Tensor, own: Tensor | None = None) -> Tensor:
        """Mean distance to the nearest of the cohort, (B,), but to those of one's own (B, C).

        Takes vectors of strokes alone, of unit length, as the cohort's are. Where there are too
        few, nobody is farther away than √2.
        """
        like = alone @ self.cohort.T
        like = like if own is None else like.masked_fill(own, 0.0)
        return (2 - 2 * like.topk(self.nearest).values).clamp(min=1e-6).sqrt().mean(1)

    @staticmethod
    def joined(shape: Tensor, beside: Tensor) -> Tensor:
        """The vectors, (B, length), of both their parts."""
        return F.normalize(torch.cat([shape, beside], 1), dim=1) if beside.shape[1] else shape


def build_network(settings: NetworkSettings, seed: int) -> SignatureNet:
    """A freshly initialised network, channels last; the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SignatureNet(settings).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def folded(network: SignatureNet) -> SignatureNet:
    """A copy to embed with: each batch normalisation is part of the convolution before it.

    A quarter less work, and vectors that differ in the seventh digit.
    """
    copy = deepcopy(network).eval()
    for parent in list(copy.modules()):
        for (name, conv), (norm_name, norm) in itertools.pairwise(list(parent.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, nn.Identity())
    return copy.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def save_weights(network: SignatureNet) -> bytes:
    """The weights as safetensors."""
    data: bytes = save(
        {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    )
    return data


def load_network(weights: bytes, settings: NetworkSettings) -> SignatureNet:
    """The network that :func:`save_weights` saved, ready to embed."""
    network = build_network(settings, seed=0)
    network.load_state_dict(load(weights))
    return network.eval()


def choose_device(wanted: str) -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU.

    Raises
    ------
    RunError : ``cuda`` was asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise RunError("training.device is cuda, but torch finds no CUDA device here.")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def seen(canvases: Tensor) -> Tensor:
    """Canvases as the network sees them, two thirds as high and wide: shapes need no more."""
    return F.interpolate(canvases, scale_factor=2 / 3, mode="bilinear", antialias=True)


def changed(canvases: npt.NDArray[np.uint8], change: Change) -> npt.NDArray[np.uint8]:
    """Canvases (N, H, W), N > 0, after a change of (B, 1, H, W) in [0, 1]."""
    parts = torch.from_numpy(canvases).split(_AT_ONCE)
    return torch.cat([(change(to_input(p))[:, 0] * 255).round().byte() for p in parts]).numpy()


def to_input(canvases: Tensor) -> Tensor:
    """uint8 ``(B, H, W)`` to float ``(B, 1, H, W)`` in [0, 1], channels last."""
    return canvases.unsqueeze(1).float().div_(255.0).contiguous(memory_format=torch.channels_last)
