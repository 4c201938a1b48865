"""Training: deterministic, resumable after a kill, and it learns what an untrained net cannot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

from siamese import handwriting, imaging, training
from siamese.augment import augment
from siamese.config import ImagingSettings, NetworkSettings, TrainingSettings
from siamese.distributed import train_together
from siamese.embedding import embed
from siamese.errors import RunError
from siamese.model import (
    SignatureNet,
    build_network,
    choose_device,
    folded,
    load_network,
    save_weights,
)
from siamese.sampling import group_by_writer, sample_batch
from siamese.training import Epoch, SignatureSet, train

NETWORK = NetworkSettings(widths=(8, 12, 16), embedding=16)
SIZE = ImagingSettings(height=108, width=216)
TRAINING = TrainingSettings(
    steps=6,
    evaluate_every=2,
    writers_per_batch=4,
    genuine_per_writer=2,
    forgeries_per_writer=1,
    device="cpu",
)


def signatures(writers: range, images: int = 3, seed: int = 1) -> SignatureSet:
    """A small synthetic set, drawn without paper."""
    canvases, names, genuine = [], [], []
    for writer in writers:
        rng = np.random.default_rng((seed, writer))
        plan = handwriting.new_writer(rng)
        for kind, vary in enumerate((handwriting.skilled_forgery, handwriting.genuine_variant)):
            for _ in range(images):
                data = handwriting.scan(handwriting.draw(vary(plan, rng), rng), rng)
                canvases.append(imaging.prepare(data, SIZE).pixels)
                names.append(f"w{writer:03d}")
                genuine.append(bool(kind))
    ids = np.array([str(number) for number in range(len(names))])
    return SignatureSet(np.stack(canvases), np.array(names), np.array(genuine), ids)


@pytest.fixture(scope="module")
def sets() -> tuple[SignatureSet, SignatureSet]:
    return signatures(range(8)), signatures(range(8, 12))


def weights(network: SignatureNet) -> bytes:
    return save_weights(network)


def test_same_seed_same_network(sets: tuple[SignatureSet, SignatureSet]) -> None:
    first, second, other = (train(*sets, NETWORK, TRAINING, seed).network for seed in (3, 3, 4))
    assert weights(first) == weights(second)
    assert weights(first) != weights(other)


def test_weights_round_trip() -> None:
    network = build_network(NETWORK, 1)
    assert weights(load_network(weights(network), NETWORK)) == weights(network)


def test_a_folded_network_makes_the_same_vectors(sets: tuple[SignatureSet, SignatureSet]) -> None:
    network = train(*sets, NETWORK, TRAINING, 3).network
    kept = weights(network)
    quick = folded(network)
    assert not [one for one in quick.modules() if isinstance(one, torch.nn.BatchNorm2d)]
    found, expected = (embed(one, sets[0].canvases) for one in (quick, network))
    assert found == pytest.approx(expected, abs=1e-6)
    assert weights(network) == kept


def test_vectors_have_unit_length_even_in_mixed_precision() -> None:
    canvases = np.random.default_rng(0).integers(0, 255, (5, 96, 192), dtype=np.uint8)
    lengths = np.linalg.norm(embed(build_network(NETWORK, 1), canvases), axis=1)
    assert lengths == pytest.approx(np.ones(5), abs=1e-5)


def test_embedding_does_not_depend_on_the_batch() -> None:
    canvases = np.random.default_rng(0).integers(0, 255, (7, 96, 192), dtype=np.uint8)
    network = build_network(NETWORK, 1)
    assert embed(network, canvases, 3) == pytest.approx(embed(network, canvases, 7), abs=2e-2)
    assert embed(network, canvases[:0]).shape == (0, NETWORK.length)


class Interrupted(Exception):
    pass


def test_resumed_run_ends_as_the_whole_one(
    sets: tuple[SignatureSet, SignatureSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(*sets, NETWORK, TRAINING, 3)

    def stop(epoch: Epoch) -> None:
        if epoch.step == 4:
            raise Interrupted

    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(Interrupted):
        train(*sets, NETWORK, TRAINING, 3, checkpoint=checkpoint, on_epoch=stop)
    drawn: list[int] = []

    def watched(groups: object, step: int, seed: int, **sizes: int) -> object:
        drawn.append(step)
        return sample_batch(groups, step, seed, **sizes)

    monkeypatch.setattr(training, "sample_batch", watched)
    resumed = train(*sets, NETWORK, TRAINING, 3, checkpoint=checkpoint)
    assert drawn == list(range(4, TRAINING.steps))  # what was done is not done again
    assert weights(resumed.network) == weights(whole.network)
    assert [epoch.loss for epoch in resumed.history] == [epoch.loss for epoch in whole.history]


_KILLED = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_training import NETWORK, TRAINING, signatures, train
settings = TRAINING.model_copy(update={{"steps": 60}})
made = train(
    signatures(range(8)), signatures(range(8, 12)), NETWORK, settings, 3,
    checkpoint=Path({checkpoint!r}), on_epoch=lambda e: print("step", e.step, flush=True),
)
Path({done!r}).write_bytes(__import__("siamese.model").model.save_weights(made.network))
"""


def test_killed_process_resumes_to_the_same_network(tmp_path: Path) -> None:
    def start(name: str) -> tuple[subprocess.Popen[str], Path]:
        done = tmp_path / f"{name}.safetensors"
        script = _KILLED.format(
            tests=str(Path(__file__).parent),
            checkpoint=str(tmp_path / f"{name}.pt"),
            done=str(done),
        )
        process = subprocess.Popen([sys.executable, "-c", script], stdout=-1, text=True)
        return process, done

    whole, expected = start("whole")
    assert whole.wait(120) == 0
    killed, result = start("killed")
    assert killed.stdout is not None
    for line in killed.stdout:
        if line.strip() == "step 8":
            break
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not result.exists()
    resumed, result = start("killed")
    out, _ = resumed.communicate(timeout=120)
    assert out.split("\n")[:4] == ["step 2", "step 4", "step 6", "step 8"]  # replayed at once
    assert result.read_bytes() == expected.read_bytes()


def test_writers_in_both_sets_are_refused(sets: tuple[SignatureSet, SignatureSet]) -> None:
    with pytest.raises(ValueError, match="in training and held out"):
        train(sets[0], sets[0], NETWORK, TRAINING, 3)


def test_patience_stops_early(sets: tuple[SignatureSet, SignatureSet]) -> None:
    settings = TRAINING.model_copy(
        update={"steps": 200, "patience": 2, "learning_rate": 1e-9, "evaluate_every": 1}
    )
    assert len(train(*sets, NETWORK, settings, 3).history) < 200


def test_batches_hold_every_writer_once_a_round() -> None:
    writers = np.repeat(np.arange(6), 5)
    genuine = np.tile([True, True, True, False, False], 6)
    groups = group_by_writer(writers, genuine)
    sizes = {"writers_per_batch": 3, "genuine_per_writer": 2, "forgeries_per_writer": 1}
    seen = [set(writers[sample_batch(groups, step, 1, **sizes)].tolist()) for step in range(2)]
    assert seen[0] | seen[1] == set(range(6))
    rows = sample_batch(groups, 0, 1, **sizes)
    assert genuine[rows].sum() == 6
    assert len(rows) == 9


def test_augmentation_keeps_shape_and_range_and_follows_its_seed() -> None:
    canvases = torch.rand(4, 1, 96, 192)
    once, twice, other = (
        augment(canvases, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert once.shape == canvases.shape
    assert float(once.min()) >= 0
    assert float(once.max()) <= 1
    assert torch.equal(once, twice)
    assert not torch.equal(once, other)
    assert not augment(torch.zeros(2, 1, 96, 192), torch.Generator()).round(decimals=2).any()


def test_device_is_chosen_or_refused() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match=r"training\.device is cuda"):
            choose_device("cuda")


def test_two_processes_train_one_network(
    sets: tuple[SignatureSet, SignatureSet], tmp_path: Path
) -> None:
    together = TRAINING.model_copy(update={"processes": 2})
    told: list[int] = []
    made = train_together(sets, NETWORK, together, 3, tmp_path, lambda e: told.append(e.step))
    assert told == [2, 4, 6]
    assert [epoch.step for epoch in made.history] == told
    # Two processes of four writers see what one of eight does, but for how images are drawn.
    alone = train(*sets, NETWORK, TRAINING, 3)
    assert weights(made.network) != weights(alone.network)
    assert made.history[-1].loss == pytest.approx(alone.history[-1].loss, rel=0.5)
    again = train_together(sets, NETWORK, together, 3, tmp_path / "b", lambda e: None)
    assert weights(again.network) == weights(made.network)
    gone_on = train_together(sets, NETWORK, together, 3, tmp_path, lambda e: told.append(e.step))
    assert told == [2, 4, 6] * 2  # all from the checkpoint
    assert weights(gone_on.network) == weights(made.network)


def test_more_processes_than_gpus_are_refused(
    sets: tuple[SignatureSet, SignatureSet], tmp_path: Path
) -> None:
    together = TRAINING.model_copy(update={"processes": 2, "device": "cuda"})
    with (
        patch("torch.cuda.is_available", return_value=True),
        patch("torch.cuda.device_count", return_value=1),
        pytest.raises(RunError, match=r"training.processes is 2.*there are 1 here"),
    ):
        train_together(sets, NETWORK, together, 3, tmp_path, lambda e: None)
    assert not list(tmp_path.iterdir())


def test_a_failed_process_is_told_of(
    sets: tuple[SignatureSet, SignatureSet], tmp_path: Path
) -> None:
    together = TRAINING.model_copy(update={"processes": 2})
    with pytest.raises(RunError, match="are in training and held out"):
        train_together((sets[0], sets[0]), NETWORK, together, 3, tmp_path, lambda e: None)
