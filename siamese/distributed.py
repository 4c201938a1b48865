"""Training in several processes on one machine, a GPU each where there are some.

``torchrun --nproc-per-node N -m siamese.distributed FOLDER`` trains on what
:func:`train_together` left in the folder. Every process takes batches of its own, so that a step
sees N times the pictures; gradients are averaged, and all hold the same network.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import distributed

from siamese.config import NetworkSettings, TrainingSettings
from siamese.errors import RunError
from siamese.files import read_json, replace_file, write_json
from siamese.model import choose_device, load_network, save_weights
from siamese.ranks import rank_and_count
from siamese.training import Epoch, SignatureSet, Trained, train

_SETS = ("training", "held_out")


def train_together(
    sets: tuple[SignatureSet, SignatureSet],
    network: NetworkSettings,
    settings: TrainingSettings,
    seed: int,
    folder: Path,
    on_epoch: Callable[[Epoch], None],
) -> Trained:
    """:func:`siamese.training.train` in ``settings.processes`` processes, through torchrun.

    Parameters
    ----------
    folder : for what they are given and make; a checkpoint there is gone on from.

    Raises
    ------
    RunError : there are fewer GPUs than processes, or a process failed; the message has the last
        lines that it wrote.
    """
    gpus = torch.cuda.device_count()
    if choose_device(settings.device).type == "cuda" and gpus < settings.processes:
        raise RunError(
            f"training.processes is {settings.processes}, a GPU each, and there are {gpus} here. "
            "Set it to as many, or training.device to cpu."
        )
    for name, one in zip(_SETS, sets, strict=True):
        with replace_file(folder / f"{name}.npz") as handle:
            np.savez(handle, **vars(one))
    facts = {"network": network.model_dump(), "training": settings.model_dump(), "seed": seed}
    write_json(folder / "settings.json", facts)
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone",
        f"--nproc-per-node={settings.processes}", "-m", "siamese.distributed", str(folder),
    ]  # fmt: skip
    last: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or ():
            if line.startswith("{"):
                on_epoch(Epoch(**json.loads(line)))
            else:
                last = [*last[-60:], line]
    if process.returncode:
        raise RunError(f"Training in {settings.processes} processes failed:\n{''.join(last)}")
    made = read_json(folder / "trained.json")
    weights = (folder / "trained.safetensors").read_bytes()
    history = [Epoch(**epoch) for epoch in made["history"]]
    return Trained(load_network(weights, network), history, made["best_step"], made["device"])


def main(folder: Path) -> None:
    """One of the processes."""
    facts = read_json(folder / "settings.json")
    settings = TrainingSettings(**facts["training"])
    on_gpu = choose_device(settings.device).type == "cuda"
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    rank, _ = rank_and_count()
    training_set, held_out = (SignatureSet(**np.load(folder / f"{name}.npz")) for name in _SETS)

    def tell(epoch: Epoch) -> None:
        if rank == 0:
            print(json.dumps(asdict(epoch)), flush=True)  # noqa: T201 - read by train_together

    made = train(
        training_set,
        held_out,
        NetworkSettings(**facts["network"]),
        settings,
        facts["seed"],
        checkpoint=folder / "checkpoint.pt",
        on_epoch=tell,
    )
    if rank == 0:
        with replace_file(folder / "trained.safetensors") as handle:
            handle.write(save_weights(made.network))
        told = {"best_step": made.best_step, "device": made.device}
        write_json(folder / "trained.json", {**told, "history": [vars(e) for e in made.history]})
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
