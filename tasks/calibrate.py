"""Calibrate: likelihood ratios and the policy's thresholds, on calibration writers alone."""

from __future__ import annotations

from siamese import calibration
from siamese.calibration import CalibrationError
from siamese.config import Settings
from siamese.embedding import embed
from siamese.model import load_network
from siamese.preparing import canvas_store, imaging_fingerprint
from siamese.record import Record, stored_facts
from siamese.stretch import nearest_usual
from siamese.tables import IMAGES
from siamese.trials import fused_trials, pair_distances, single_trials
from siamese.verifier import Verifier
from tasks.pairs import read_pairs
from tasks.signatures import near_hands_of, signature_set
from tasks.stage import Output, Work, stage

#: References per claim that get a calibration of their own; more use the last.
REFERENCES = (1, 2, 3, 5)


@stage("calibrate", sections=("imaging", "network", "policy", "seed"))
def calibrate(
    work: Work, settings: Settings, splits: Output, pairs: Output, trained: Output
) -> str:
    """A verifier: the network with a calibration for each number of references."""
    network = load_network((trained / "network.safetensors").read_bytes(), settings.network)
    table = read_pairs(pairs, "calibration")
    images = IMAGES.read(splits / "images.parquet")
    signatures = signature_set(settings, images, table)
    vectors = embed(network, signatures.canvases)
    single = single_trials(table, pair_distances(table, signatures.ids, vectors))
    fitted = [calibration.calibrate(single, settings.policy)]
    record = [single]
    for n in REFERENCES[1:]:
        fused = fused_trials(table, signatures.ids, vectors, n, settings.seed)
        try:
            fitted.append(calibration.calibrate(fused, settings.policy))
            record.append(fused)
        except CalibrationError as error:
            work.log(f"No calibration for {n} references: {error}")
    store = canvas_store(settings.data_dir.resolve() / "store", settings.imaging)
    # Of genuine ones alone: nearly all of a batch are, and a set's forgeries may be by other pens.
    ids, names = (column[signatures.genuine] for column in (signatures.ids, signatures.writers))
    writers = dict(zip(ids.tolist(), names.tolist(), strict=True))
    made = Verifier(
        network,
        settings.network,
        settings.imaging,
        settings.policy,
        tuple(fitted),
        provenance={
            **work.provenance,
            "data_fingerprint": splits.key,
            "imaging_fingerprint": imaging_fingerprint(settings.imaging),
            "training_writers": sorted(set(read_pairs(pairs, "train")["writer"])),
            "training_fingerprint": trained.key,
        },
        record=Record(tuple(record), (), stored_facts(store, settings.imaging, writers)),
        near_hands=nearest_usual(near_hands_of(signatures, vectors, images).values()),
    )
    made.save(work.into)
    rows = "\n".join(
        f"| {c.n_references} | {c.accept_at:.3f} | {c.reject_at:.3f} | {c.threshold:.3f} | "
        f"{c.lowest:.1f} … {c.highest:.1f} |"
        for c in fitted
    )
    return (
        "## Thresholds on distance\n\n"
        "| references | accept at or below | reject above | equal error | log10 LR within |\n"
        f"| --- | --- | --- | --- | --- |\n{rows}\n"
    )
