"""Train: the Siamese network on training writers, selected on calibration writers."""

from __future__ import annotations

import shutil
import time

from siamese import distributed, figures, training
from siamese.config import Settings
from siamese.figures import training_figure
from siamese.files import replace_file, write_json
from siamese.model import save_weights
from siamese.tables import IMAGES, WRITER_SPLITS
from siamese.training import Epoch
from tasks import tracking
from tasks.pairs import read_pairs
from tasks.signatures import signature_set
from tasks.stage import Output, Work, duration, stage


@stage(
    "train",
    sections=("imaging", "network", "training", "seed"),
    besides=(figures, tracking),
    retries=2,
    retry_delay_seconds=10,
    retry_condition_fn=tracking.server_away,
)
def train(work: Work, settings: Settings, splits: Output, pairs: Output) -> str:
    """Weights and history; resumes from its checkpoint, in the same MLflow run."""
    images = IMAGES.read(splits / "images.parquet")
    training_set, held_out = (
        signature_set(settings, images, read_pairs(pairs, name))
        for name in ("train", "calibration")
    )
    client = tracking.connect(settings)
    parameters = tracking.parameters(settings)
    record = work.into / "run.json"
    started = time.monotonic()
    first_step = 0

    def tell(epoch: Epoch) -> None:
        nonlocal first_step
        if epoch.step <= already:
            first_step = epoch.step
            return
        tracking.log_epoch(epoch)
        seconds = (time.monotonic() - started) / (epoch.step - first_step)
        left = duration(seconds * (settings.training.steps - epoch.step))
        work.log(
            f"Training: step {epoch.step:,} of {settings.training.steps:,}, "
            f"loss {epoch.loss:.3f}, EER on calibration writers: skilled "
            f"{epoch.eer_skilled:.1%}, random {epoch.eer_random:.1%}, about {left} left"
        )

    name = f"train-{work.into.name[1:9]}"
    with tracking.run_of(client, record, name, parameters, machine=True) as run_id:
        logged = client.get_metric_history(run_id, "loss")
        already = max((point.step for point in logged), default=0)
        table = WRITER_SPLITS.read(splits / "splits.parquet")
        tracking.log_dataset(images, table, splits.key)
        seed = settings.seed + settings.training.turn
        given = (settings.network, settings.training, seed)
        if settings.training.processes > 1:
            sets = (training_set, held_out)
            trained = distributed.train_together(sets, *given, work.into / "together", tell)
        else:
            checkpoint = work.into / "checkpoint.pt"
            trained = training.train(
                training_set, held_out, *given, checkpoint=checkpoint, on_epoch=tell
            )
            damaged = checkpoint.with_name("checkpoint.pt.damaged")
            if damaged.is_file():
                work.log("The checkpoint was not as it was written: training began anew.")
                damaged.unlink()
        with replace_file(work.into / "network.safetensors") as handle:
            handle.write(save_weights(trained.network))
        write_json(
            work.into / "history.json",
            {
                "best_step": trained.best_step,
                "device": trained.device,
                "epochs": [vars(epoch) for epoch in trained.history],
            },
        )
        training_figure(trained.history).savefig(work.into / "training.png", dpi=110)
    (work.into / "checkpoint.pt").unlink(missing_ok=True)
    shutil.rmtree(work.into / "together", ignore_errors=True)
    best = next(epoch for epoch in trained.history if epoch.step == trained.best_step)
    return (
        f"## Training\n\nStep {trained.best_step} of {settings.training.steps} was selected on "
        f"calibration writers: EER_skilled {best.eer_skilled:.1%}, EER_random "
        f"{best.eer_random:.1%}. Device: {trained.device}. MLflow run `{run_id}`.\n"
    )
