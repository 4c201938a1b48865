"""Training: one function, resumable, the same result for the same seed and machine."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from siamese.augment import augment
from siamese.config import NetworkSettings, TrainingSettings
from siamese.embedding import in_batches
from siamese.files import read_sealed, write_sealed
from siamese.fitting import fit_strokes
from siamese.loss import batch_contrastive
from siamese.memory import hold_memory
from siamese.model import SignatureNet, build_network, changed, choose_device, seen, to_input
from siamese.pairwise import equal_errors
from siamese.ranks import average_buffers, average_gradients, rank_and_count
from siamese.sampling import group_by_writer, sample_batch

#: Bytes of a block of memory that is held; activations of a batch are in blocks of some 100 MiB.
HELD = 256 * 2**20
_EMA_DECAY = 0.99


@dataclass(frozen=True)
class SignatureSet:
    """Canvases with who they claim to be.

    canvases : (N, H, W) uint8. writers : (N,) names. genuine : (N,) bool. ids : (N,).
    """

    canvases: npt.NDArray[np.uint8]
    writers: npt.NDArray[np.str_]
    genuine: npt.NDArray[np.bool_]
    ids: npt.NDArray[np.str_]


@dataclass(frozen=True)
class Epoch:
    """What is logged after every ``evaluate_every`` steps."""

    step: int
    loss: float
    loss_genuine: float
    loss_skilled: float
    loss_random: float
    eer_skilled: float
    eer_random: float
    learning_rate: float
    images_per_second: float

    @property
    def selection(self) -> float:
        """What model selection looks at: the mean of both EERs on held-out writers."""
        return (self.eer_skilled + self.eer_random) / 2


@dataclass(frozen=True)
class Trained:
    """The selected network and the history that led to it."""

    network: SignatureNet
    history: list[Epoch]
    best_step: int
    device: str


def train(
    training_set: SignatureSet,
    held_out: SignatureSet,
    network: NetworkSettings,
    settings: TrainingSettings,
    seed: int,
    *,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> Trained:
    """Train a network on some writers, selecting it on others.

    Parameters
    ----------
    training_set, held_out : signatures of disjoint writers.
    checkpoint : file to resume from when it is there and whole, and rewritten after each epoch.
    on_epoch : called after each epoch, also for those replayed from a checkpoint.

    Raises
    ------
    ValueError : a writer is in both sets, or fewer than two writers can be trained on.
    """
    shared = set(training_set.writers) & set(held_out.writers)
    if shared:
        raise ValueError(f"writers {sorted(shared)[:5]} are in training and held out")
    _names, writer_ids = np.unique(training_set.writers, return_inverse=True)
    groups = group_by_writer(writer_ids, training_set.genuine)
    if len(groups) < 2:
        raise ValueError("training needs two writers with two genuine signatures each")

    hold_memory(HELD)
    device, (rank, count) = choose_device(settings.device), rank_and_count()
    run = _Run(network, settings, seed, device)
    history, best = run.restore(checkpoint)
    if not history:
        run.begin(training_set)
    for epoch in history:
        on_epoch(epoch)
    beside = in_batches(run.averaged.beside, held_out.canvases, device)
    # Canvases as the network sees them, made once and not at every step.
    canvases = torch.from_numpy(changed(training_set.canvases, seen)).to(device)
    writers = torch.from_numpy(writer_ids).to(device)
    genuine = torch.from_numpy(training_set.genuine.copy()).to(device)

    totals, images, started = torch.zeros(4, device=device), 0, time.perf_counter()
    for step in range(run.step, settings.steps):
        if _patience_is_over(history, settings.patience):
            break
        rows = torch.from_numpy(
            sample_batch(
                groups,
                step * count + rank,
                seed,
                writers_per_batch=settings.writers_per_batch,
                genuine_per_writer=settings.genuine_per_writer,
                forgeries_per_writer=settings.forgeries_per_writer,
            )
        ).to(device)
        totals += run.learn(canvases[rows], writers[rows], genuine[rows], step)
        images += len(rows) * count
        done = step + 1
        if done % settings.evaluate_every and done != settings.steps:
            continue
        steps = done % settings.evaluate_every or settings.evaluate_every
        terms = (totals / steps).tolist()  # waits for the device
        seconds = time.perf_counter() - started
        for one in (run.network, run.averaged):  # the first for whoever goes on from here
            average_buffers(one)
        shapes = in_batches(lambda x: run.averaged.shape(seen(x)), held_out.canvases, device)
        vectors = run.averaged.joined(torch.from_numpy(shapes), torch.from_numpy(beside))
        errors = equal_errors(vectors, held_out.writers, held_out.genuine)
        epoch = Epoch(
            done,
            loss=terms[0],
            loss_genuine=terms[1],
            loss_skilled=terms[2],
            loss_random=terms[3],
            eer_skilled=errors[0],
            eer_random=errors[1],
            learning_rate=run.rate(step),
            images_per_second=images / seconds,
        )
        history.append(epoch)
        if epoch.selection <= min(e.selection for e in history):
            best = {k: v.detach().cpu().clone() for k, v in run.averaged.state_dict().items()}
        if rank == 0:
            run.save(checkpoint, done, history, best)
        on_epoch(epoch)
        totals, images, started = torch.zeros(4, device=device), 0, time.perf_counter()

    selected = build_network(network, seed)
    selected.load_state_dict(best)
    best_step = min(reversed(history), key=lambda e: e.selection).step
    return Trained(selected.eval(), history, best_step, str(device))


class _Run:
    """Weights, optimiser and averaged weights of one run, and how they are saved."""

    def __init__(
        self,
        network: NetworkSettings,
        settings: TrainingSettings,
        seed: int,
        device: torch.device,
    ) -> None:
        self.settings, self.seed, self.device, self.step = settings, seed, device, 0
        self.network = build_network(network, seed).to(device).train()
        self.average = AveragedModel(
            self.network, multi_avg_fn=get_ema_multi_avg_fn(_EMA_DECAY), use_buffers=True
        )
        self.averaged.eval()
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        plain = [p for p in self.network.parameters() if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": settings.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ]
        )

    def begin(self, signatures: SignatureSet) -> None:
        """Find what no step is needed for."""
        some = signatures.canvases, signatures.writers, signatures.genuine
        fit_strokes(self.network, *some, self.seed)
        self.averaged.load_state_dict(self.network.state_dict())

    @property
    def averaged(self) -> SignatureNet:
        return cast(SignatureNet, self.average.module)

    def rate(self, step: int) -> float:
        """One cycle: a tenth of the way up in a line, then down along a cosine."""
        share = (step + 1) / self.settings.steps
        peak = self.settings.learning_rate
        if share < 0.1:
            return peak * share / 0.1
        return peak * 0.5 * (1 + math.cos(math.pi * (share - 0.1) / 0.9))

    def learn(self, canvases: Tensor, writers: Tensor, genuine: Tensor, step: int) -> Tensor:
        """One optimiser step; returns the loss and its three terms, for which it does not wait."""
        inputs = to_input(canvases)
        rank, count = rank_and_count()
        place = self.seed * 1_000_003 + step * count + rank
        generator = torch.Generator(self.device).manual_seed(place)
        if self.settings.augment:
            inputs = augment(inputs, generator)
        with autocast(self.device):
            embeddings = self.network.shape(inputs)
        terms = batch_contrastive(
            embeddings,
            writers,
            genuine,
            margin_genuine=self.settings.margin_genuine,
            margin_forgery=self.settings.margin_forgery,
            skilled_weight=self.settings.skilled_weight,
            random_weight=self.settings.random_weight,
        )
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(step)
        self.optimiser.zero_grad(set_to_none=True)
        terms.total.backward()
        average_gradients(self.network)
        self.optimiser.step()
        self.average.update_parameters(self.network)
        return torch.stack([terms.total.detach(), terms.genuine, terms.skilled, terms.random])

    def save(
        self, path: Path | None, step: int, history: list[Epoch], best: dict[str, Tensor]
    ) -> None:
        if path is None:
            return
        state = {
            "step": step,
            "history": [asdict(epoch) for epoch in history],
            "best": best,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        out = io.BytesIO()
        torch.save(state, out)
        write_sealed(path, out.getvalue())

    def restore(self, path: Path | None) -> tuple[list[Epoch], dict[str, Tensor]]:
        if path is None or (kept := read_sealed(path)) is None:
            return [], {}
        # weights_only: a checkpoint holds tensors and numbers; nothing in it is ever run.
        state = torch.load(io.BytesIO(kept), map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = int(state["step"])
        return [Epoch(**epoch) for epoch in state["history"]], state["best"]


def autocast(device: torch.device) -> torch.autocast:
    """Mixed precision where it pays: bfloat16 on CUDA and on CPUs that multiply in it.

    How much it pays: ``benchmarks/training_step.py``.
    """
    supported = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=supported)


def _patience_is_over(history: list[Epoch], patience: int) -> bool:
    if patience == 0 or len(history) <= patience:
        return False
    best = min(range(len(history)), key=lambda i: history[i].selection)
    return len(history) - 1 - best >= patience
