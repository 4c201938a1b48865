"""Evaluate: every figure of the protocol, on test writers, who are touched once, here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from siamese import evaluation, modelcard, probes
from siamese.calibration import p_genuine
from siamese.config import Settings
from siamese.evaluation import Evaluation
from siamese.figures import (
    decisions_figure,
    det_figure,
    distance_figure,
    pair_sheet,
    roc_figure,
)
from siamese.files import read_json, write_json, write_text
from siamese.tables import IMAGES, SCORES, WRITER_SPLITS
from siamese.training import SignatureSet
from siamese.trials import Trials, fused_trials, pair_distances, single_trials
from siamese.verifier import Verifier
from tasks.pairs import read_pairs
from tasks.signatures import as_decided, near_hands_of, signature_set
from tasks.stage import Output, Work, stage

_HARDEST = 20


@stage("evaluate", sections=("imaging", "policy", "seed"))
def evaluate(
    work: Work,
    settings: Settings,
    splits: Output,
    pairs: Output,
    calibrated: Output,
) -> str:
    """Figures, scores, probes, pictures, model card, and the verifier complete with them."""
    verifier = Verifier.load(calibrated.path)
    images = IMAGES.read(splits / "images.parquet")
    table = read_pairs(pairs, "test")
    signatures = signature_set(settings, images, table)
    vectors = verifier.embed(signatures.canvases)
    single = single_trials(table, pair_distances(table, signatures.ids, vectors))
    tried = {1: single, 5: fused_trials(table, signatures.ids, vectors, 5, settings.seed)}
    near = near_hands_of(signatures, vectors, images)
    tried = {
        n: as_decided(one, near, verifier.near_hands, images)
        for n, one in tried.items()
        if len(one.label)
    }
    evaluations = [
        evaluation.evaluate(one, verifier.calibration(n), settings.policy, settings.seed)
        for n, one in tried.items()
    ]
    work.log("Looking for leaks: probes on paper and on questioned signatures alone.")
    found = _probes(settings, splits, pairs, verifier, images, signatures)

    single = tried[1]
    _write_scores(work, table, single, verifier)
    first = verifier.calibration(1)
    figures = work.into / "figures"
    figures.mkdir(exist_ok=True)
    for name, figure in (
        ("roc", roc_figure(single)),
        ("det", det_figure(single, first)),
        ("distances", distance_figure(single, first)),
        ("decisions", decisions_figure(single, first)),
        ("hardest_pairs", _hardest(single, table, signatures)),
    ):
        figure.savefig(figures / f"{name}.png", dpi=110)
    complete = replace(verifier, record=replace(verifier.record, test=tuple(tried.values())))
    complete.save(work.into / "verifier")
    write_json(work.into / "evaluation.json", [one.to_dict() for one in evaluations])
    write_json(work.into / "probes.json", found.to_dict())
    card = modelcard.render(complete, evaluations, found, images, splits_table(splits))
    write_text(work.into / "model_card.md", card)
    for line in evaluation.lines(evaluations):
        work.log(line)
    return card


def splits_table(splits: Output) -> pd.DataFrame:
    """The splits of writers."""
    return WRITER_SPLITS.read(splits / "splits.parquet")


def _probes(
    settings: Settings,
    splits: Output,
    pairs: Output,
    verifier: Verifier,
    images: pd.DataFrame,
    test: SignatureSet,
) -> probes.Probes:
    train = signature_set(settings, images, read_pairs(pairs, "train"))
    ids = np.concatenate([train.ids, test.ids])
    canvases = np.concatenate([train.canvases, test.canvases])
    return probes.run_probes(
        images.set_index("image_id", drop=False).loc[ids],
        splits_table(splits),
        canvases,
        verifier.embed(canvases),
        settings.imaging,
        settings.seed,
    )


def _write_scores(work: Work, table: pd.DataFrame, single: Trials, verifier: Verifier) -> None:
    calibration = verifier.calibration(1)
    ratio = calibration.log10_lr(single.distance)
    scores = table.assign(
        distance=single.distance,
        similarity=1 - single.distance / 2,
        log10_lr=ratio,
        p_genuine=p_genuine(ratio, verifier.policy.prior),
        decision=calibration.decide(single.distance),
    )
    SCORES.write(scores, work.into / "scores.parquet", work.provenance)


def _hardest(single: Trials, table: pd.DataFrame, signatures: SignatureSet) -> Figure:
    """The genuine pairs farthest apart and the forgeries closest, half and half."""
    row = {image_id: i for i, image_id in enumerate(signatures.ids)}
    wrong = np.where(single.label == 1, single.distance, -single.distance)
    chosen = np.concatenate(
        [
            rows[np.argsort(-wrong[rows])][: _HARDEST // 2]
            for rows in (np.flatnonzero(single.label == 1), np.flatnonzero(single.label == 0))
        ]
    )
    left = [row[i] for i in table["reference_id"].iloc[chosen]]
    right = [row[i] for i in table["questioned_id"].iloc[chosen]]
    titles = [
        f"{single.writer[i]}, {single.kind[i].replace('_', ' ')}, {single.distance[i]:.2f}"
        for i in chosen
    ]
    return pair_sheet(signatures.canvases[left], signatures.canvases[right], titles)


def read_evaluations(evaluated: Output) -> list[Evaluation]:
    """The figures of an evaluate output."""
    return [Evaluation.from_dict(data) for data in read_json(evaluated / "evaluation.json")]
