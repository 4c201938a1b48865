"""What the accuracy benchmark trains: ours, its parts taken out in turn, and two baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias
from unittest import mock

import baselines
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from accuracy_data import SEED, SOURCES, Canvases, Data, levelled

from siamese import embedding, fitting, strokes, telling, training, words
from siamese.config import NetworkSettings, PairSettings, TrainingSettings
from siamese.edges import find_edges
from siamese.embedding import in_batches
from siamese.loss import ContrastiveTerms, pair_loss
from siamese.model import SignatureNet, build_network

LONG = 2800  # steps
ALONE = 500  # steps of the network by itself: all of a distance is what they taught it
CPU = torch.device("cpu")
Floats = npt.NDArray[np.float32]
#: Canvases (N, H, W) to vectors (N, E).
Embed = Callable[[Canvases], Floats]
Patched: TypeAlias = AbstractContextManager[Any]


def ours(
    data: Data,
    canvases: Canvases,
    steps: int,
    sources: Sequence[str] = SOURCES,
    network: NetworkSettings | None = None,
    every: int = 1,
    **changes: Any,
) -> Embed:
    """Ours, on (every so-many-th of the) writers of some sources, with some settings changed."""
    settings = TrainingSettings(**{"steps": steps, "evaluate_every": max(steps // 5, 1), **changes})
    made = training.train(
        data.signatures("train", canvases, sources, every),
        data.signatures("calibration", canvases, sources),
        network or NetworkSettings(),
        settings,
        SEED,
        on_epoch=lambda epoch: print(f"  step {epoch.step}: {epoch.selection:.3f}", flush=True),
    )
    return lambda some: embedding.embed(made.network, some)


def disjoint_pairs(
    embeddings: torch.Tensor,
    writers: torch.Tensor,
    genuine: torch.Tensor,
    *,
    margin_genuine: float,
    margin_forgery: float,
    **weights: float,
) -> ContrastiveTerms:
    """The loss on pairs that share no image, as when pairs are drawn and not images.

    Of two writers in turn: a genuine pair of the first, a random pair of both, a skilled pair
    of the second.
    """
    del weights
    groups = [
        torch.nonzero(writers == writer)[:, 0] for writer in torch.unique_consecutive(writers)
    ]
    kinds: list[list[torch.Tensor]] = [[], [], []]
    for first, second in zip(groups[::2], groups[1::2], strict=False):
        own, other = first[genuine[first]], second[genuine[second]]
        kinds[0].append(own[:2])
        kinds[1].append(torch.stack([own[2], other[0]]))
        kinds[2].append(torch.stack([other[1], second[~genuine[second]][0]]))
    terms = []
    for label, some in zip((1.0, 0.0, 0.0), kinds, strict=True):
        left, right = embeddings[torch.stack(some)].unbind(1)
        distance = (left - right).square().sum(1).clamp(min=1e-8).sqrt()
        losses = pair_loss(
            distance, torch.full_like(distance, label), margin_genuine, margin_forgery
        )
        terms.append(losses.sum() / (losses > 0).sum().clamp(min=1))
    return ContrastiveTerms(sum(terms[1:], terms[0]), *(term.detach() for term in terms))


def _strokes_alone(data: Data, canvases: Canvases, steps: int) -> Embed:
    """How strokes run, with nothing learnt."""
    del data, canvases, steps
    return lambda some: in_batches(lambda x: strokes.describe(find_edges(x)), some, CPU)


def with_one_scale() -> Patched:
    none = np.zeros(sum(SignatureNet.parts), np.float32), 0.0
    return mock.patch.object(telling, "scale_of_hands", lambda *_: none)


def without_cohort() -> Patched:
    nobody = np.zeros((0, NetworkSettings().strokes + 1), np.float32), np.array([], str)
    return mock.patch.object(telling, "cohort_of", lambda *_: nobody)


def without_words() -> Patched:
    """As many axes, of how strokes run alone."""
    found = words.no_words()
    return mock.patch.object(fitting, "learn_words", lambda *_: found)


@contextmanager
def with_one_scanner() -> Iterator[None]:
    """Axes and scales found from the training pictures as they are."""
    with (
        mock.patch.object(fitting, "bend", lambda x, generator: x),
        mock.patch.object(fitting, "RESCANS", {"as it is": lambda x: x}),
    ):
        yield


def _changed(patched: Callable[[], Patched]) -> Callable[[Data, Canvases, int], Embed]:
    """Ours, with a part of it taken out."""

    def made(data: Data, canvases: Canvases, steps: int) -> Embed:
        with patched():
            return ours(data, canvases, steps)

    return made


def _axes_alone(data: Data, canvases: Canvases, steps: int) -> Embed:
    """Strokes along the axes that tell training writers from their forgers, and no scale."""
    del steps
    some = data.signatures("train", canvases)
    network = build_network(NetworkSettings(), SEED)
    fitting.fit_strokes(network, some.canvases, some.writers, some.genuine, SEED)
    axes, mean = network.stroke_axes.numpy(), network.stroke_mean.numpy()
    return lambda canvases: in_batches(network.describe, canvases, CPU) @ axes.T - mean


def _with_tone(data: Data, canvases: Canvases, steps: int) -> Embed:
    """Ours, and one number more: how far the tone of the ink spreads, which levelling removes.

    It counts as much as all else does between genuine signatures of a training writer.
    """
    plain = ours(data, data.ours, steps)

    def spread(some: Canvases) -> Floats:
        return np.array([[one[one > 0].std()] for one in some], np.float32)

    known = data.signatures("train", canvases)
    genuine = known.canvases[known.genuine]
    hands = pd.Series(known.writers[known.genuine])
    both = [plain(levelled(genuine)), spread(genuine)]
    usual = [pd.DataFrame(x).groupby(hands).var().mean().sum() for x in both]
    share = np.sqrt(usual[0] / usual[1]).astype(np.float32)
    return lambda some: np.hstack([plain(levelled(some)), share * spread(some)])


def notebook(data: Data, canvases: Canvases, steps: int) -> Embed:
    """The notebook's network and recipe, on 1,500 pairs for each of its 9 epochs."""
    del steps
    inputs = baselines.resized(canvases, 100, 100)
    network = baselines.NotebookNet()
    rows, labels = _training_pairs(data, 1500)
    baselines.train_on_pairs(
        network, inputs, rows, labels,
        lambda net: torch.optim.RMSprop(net.parameters(), lr=1e-4, alpha=0.99, eps=1e-8,
                                        weight_decay=5e-4, momentum=0.9),
        margin=1.5, epochs=9, batch=64, seed=SEED,
    )  # fmt: skip
    return lambda some: baselines.embed_with(network, baselines.resized(some, 100, 100))


def signet(data: Data, canvases: Canvases, steps: int) -> Embed:
    """A SigNet-like network, on half as many pictures as ours sees."""
    inputs = baselines.resized(canvases, 155, 220)
    network = baselines.SigNetLike()
    rows, labels = _training_pairs(data, steps * 20)
    baselines.train_on_pairs(
        network, inputs, rows, labels,
        lambda net: torch.optim.RMSprop(net.parameters(), lr=1e-4, weight_decay=5e-4),
        margin=1.0, epochs=1, batch=32, seed=SEED,
    )  # fmt: skip
    return lambda some: baselines.embed_with(network, baselines.resized(some, 155, 220))


def _training_pairs(data: Data, most: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Genuine and skilled pairs in equal number, as places among the images."""
    known = data.pairs("train", PairSettings(max_genuine=200, max_skilled=200, max_random=1))
    known = known[known["kind"] != "random_forgery"]
    each = min(most // 2, known["label"].value_counts().min())
    known = known.groupby("label").sample(each, random_state=SEED)
    place = {image_id: i for i, image_id in enumerate(data.images["image_id"])}
    rows = known[["reference_id", "questioned_id"]].map(place.__getitem__).to_numpy(np.int64)
    return rows, known["label"].to_numpy(np.int64)


@dataclass(frozen=True)
class Row:
    """One line of the table: how it is trained, on which canvases, and of which sources."""

    title: str
    train: Callable[[Data, Canvases, int], Embed]
    canvases: str = "ours"
    sources: Sequence[str] = SOURCES
    rescanned: bool = False  # whether it is also measured on pictures that are scanned worse


def _without(**changes: Any) -> Callable[[Data, Canvases, int], Embed]:
    return lambda data, canvases, steps: ours(data, canvases, steps, **changes)


def _long(**changes: Any) -> Callable[[Data, Canvases, int], Embed]:
    return lambda data, canvases, _: ours(data, canvases, LONG, **changes)


def _alone(steps: int = ALONE, **changes: Any) -> Callable[[Data, Canvases, int], Embed]:
    """The network by itself, without how strokes run: what helps learning shows there."""
    none = NetworkSettings(strokes=0)
    return lambda data, canvases, _: ours(data, canvases, steps, network=none, **changes)


def _one_pair_an_image(data: Data, canvases: Canvases, steps: int) -> Embed:
    # 48 of the 80 pictures of a batch are in a pair: more steps, for as many pictures.
    with mock.patch.object(training, "batch_contrastive", disjoint_pairs):
        return _alone(ALONE * 80 // 48)(data, canvases, steps)


ROWS: Mapping[str, Row] = {
    "notebook": Row("(a) the notebook's network and recipe, on whole pictures with their paper",
                    notebook, "whole"),
    "notebook_clean": Row("(a) the same on our canvases", notebook),
    "signet": Row("(b) SigNet-like, on our canvases", signet),
    "ours": Row("(c) ours", ours, rescanned=True),
    "ours_long": Row(f"(c) ours, {LONG:,} steps", _long(), rescanned=True),
    "dutch_alone": Row("(c) ours, trained and calibrated on Dutch writers alone",
                       _without(sources=("dutch",)), sources=("dutch",)),
    "hindi_alone": Row("(c) ours, trained and calibrated on Hindi writers alone",
                       _without(sources=("hindi",)), sources=("hindi",)),
    "half": Row("(c) ours, half of the training writers", _without(every=2)),
    "quarter": Row("(c) ours, a quarter of the training writers", _without(every=4)),
    "ours_paper": Row("(c) ours with the paper left in (a leak)", ours, "with_paper"),
    "ours_tone": Row("(c) ours, and how far the tone of the ink spreads (a leak)", _with_tone,
                     "with_tone"),
    "no_strokes": Row(f"(d) the network alone, {ALONE} steps", _alone()),
    "pairs": Row("(d) the network alone, each picture in one pair of a batch",
                 _one_pair_an_image),
    "single_margin": Row("(d) the network alone, one margin", _alone(margin_genuine=0.0)),
    "no_random": Row("(d) the network alone, no random negatives", _alone(random_weight=0.0)),
    "no_augment": Row("(d) the network alone, no augmentation", _alone(augment=False)),
    "long_no_augment": Row(f"(d) ours, {LONG:,} steps, no augmentation",
                           _long(augment=False), rescanned=True),
    "no_words": Row("(d) ours, without the pieces that strokes are of", _changed(without_words)),
    "one_scale": Row("(d) ours, one scale for all hands", _changed(with_one_scale), rescanned=True),
    "no_cohort": Row("(d) ours, no cohort to hold hands against", _changed(without_cohort),
                     rescanned=True),
    "one_scanner": Row("(d) ours, strokes as written and scanned, not bent or scanned otherwise",
                       _changed(with_one_scanner), rescanned=True),
    "axes_alone": Row("(d) how strokes run alone, no network", _axes_alone),
    "strokes_alone": Row("(d) how strokes run alone, nothing learnt", _strokes_alone),
    "unscaled": Row("(d) ours, whole pictures squeezed: no crop, no proportions", ours,
                    "whole_ink"),
}  # fmt: skip
