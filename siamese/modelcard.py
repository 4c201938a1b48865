"""The model card: what a model is, what it was tested on, and what it is not for.

After Mitchell et al., "Model Cards for Model Reporting", FAT* 2019.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from siamese.evaluation import Evaluation
from siamese.intervals import Estimate
from siamese.probes import BACKGROUND_LIMIT, Probes
from siamese.tables import SPLITS
from siamese.verifier import Verifier

TITLES = {
    "eer_skilled": "EER, skilled forgeries",
    "eer_random": "EER, random forgeries",
    "far_skilled": "FAR_skilled at the frozen threshold",
    "far_random": "FAR_random at the frozen threshold",
    "frr": "FRR at the frozen threshold",
    "policy_far_skilled": "skilled forgeries accepted at the policy",
    "policy_far_random": "random forgeries accepted at the policy",
    "policy_frr": "genuine rejected at the policy",
    "review": "genuine and skilled sent to review",
    "auc_skilled": "ROC AUC, skilled",
    "auc_random": "ROC AUC, random",
    "auc_mixed": "ROC AUC, skilled and random half and half",
    "cllr": "Cllr",
    "cllr_min": "Cllr_min",
}
_RATES = ("eer", "far", "frr", "policy", "review")


def render(
    verifier: Verifier,
    evaluations: Sequence[Evaluation],
    probes: Probes,
    images: pd.DataFrame,
    splits: pd.DataFrame,
) -> str:
    """The card in Markdown."""
    provenance = verifier.provenance
    parameters = sum(p.numel() for p in verifier.network.parameters())
    return "\n".join(
        [
            "# Signature verifier: model card",
            "",
            "## What it is",
            "",
            "A shared-weight network that maps a signature to a unit vector: "
            f"{parameters:,} learnt parameters see its shape; how its strokes run, and of what "
            "pieces they are, is counted and taken along axes that tell training writers from "
            "their forgers; and vectors of hands that vary much, as their strokes foretell, are "
            "drawn together, and those of hands like which there are many in training apart. "
            "Two are compared by Euclidean distance, which is calibrated into a likelihood ratio "
            "and decided on by two thresholds.",
            "",
            f"- Policy: accept while FAR_skilled ≤ {verifier.policy.max_far_skilled:.1%}, reject "
            f"while FRR ≤ {verifier.policy.max_frr:.1%}, prior {verifier.policy.prior:.0%}.",
            f"- Signatures of different calibration writers: one pair in ten within a distance of "
            f"{verifier.near_hands:.3f}. Where they lie nearer, bulk scoring multiplies all "
            "distances, by a third at most.",
            f"- Seed {provenance.get('seed')}, data fingerprint "
            f"`{provenance.get('data_fingerprint')}`, code version "
            f"`{provenance.get('code_version')}`, imaging "
            f"`{provenance.get('imaging_fingerprint')}`.",
            "",
            "## Data and protocol",
            "",
            _data(images, splits),
            "",
            "Writer-independent: no writer and no picture is in two splits. Model selection, "
            "thresholds and calibration use calibration writers only; this run touched test "
            "writers once, for the figures below. The paper's background is removed before the "
            "network sees a picture.",
            "",
            "## Figures on test writers",
            "",
            *_figures(evaluations),
            "",
            "Intervals are 95 %, by bootstrap over writers, both of a random pair. "
            "Thresholds come from the calibration writers; of few, they miss the policy on others.",
            "",
            "## Leak probes",
            "",
            "A simple classifier that never compares signatures, trained on training writers; "
            "AUC on test writers, 0.5 is chance.",
            "",
            f"- Background as the network sees it: {_auc(probes.background_seen)} "
            f"(must be ≤ {BACKGROUND_LIMIT:.2f}; "
            f"{'healthy' if probes.healthy else 'NOT healthy'}).",
            f"- Amount, box and sharpness of the ink: {_auc(probes.global_seen)} (reported).",
            f"- Paper of the original files, which is removed: {_auc(probes.background_raw)}.",
            f"- Questioned signature alone, no reference: {_auc(probes.questioned_only)} "
            "(reported; a less sure hand is honest evidence, a set's pens are not, and which is "
            "which is not told).",
            "",
            "## Intended use and limits",
            "",
            "To sort claims into accept, review and reject for people who decide; never the only "
            "ground for refusing a person. Not tested on slow traced forgeries, disguised "
            "signatures, initials, the old and the ill, or scripts, pens and scanners other than "
            "those above, where the thresholds may not hold: docs/accuracy.md says, under "
            '"Carried over", how far off they were on a source that was left out. Recalibrate on '
            "your own labelled pairs before you rely on the error rates.",
            "",
        ]
    )


def _data(images: pd.DataFrame, splits: pd.DataFrame) -> str:
    placed = images.merge(splits, on="writer")
    head = ["| source | split | writers | genuine | skilled forgeries |", "| --- " * 5 + "|"]
    rows = []
    for (source, split), mine in placed.groupby(["source", "split"], observed=True):
        kinds = mine["kind"].value_counts()
        rows.append(
            f"| {source} | {split} | {mine['writer'].nunique()} | {kinds.get('genuine', 0)} | "
            f"{kinds.get('skilled_forgery', 0)} |"
        )
    return "\n".join([*head, *sorted(rows, key=_split_order)])


def _split_order(row: str) -> tuple[str, int]:
    cells = [cell.strip() for cell in row.split("|")]
    return cells[1], SPLITS.index(cells[2])


def _figures(evaluations: Sequence[Evaluation]) -> list[str]:
    head = [f"{e.n_references} reference{'s' if e.n_references > 1 else ''}" for e in evaluations]
    lines = [f"| figure | {' | '.join(head)} |", "| --- " * (len(head) + 1) + "|"]
    for name, title in TITLES.items():
        cells = [cell(name, e.figures[name]) if name in e.figures else "–" for e in evaluations]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    counts = [
        f"{e.writers} writers; {e.pairs['genuine']:,} genuine, "
        f"{e.pairs['skilled_forgery']:,} skilled, {e.pairs['random_forgery']:,} random"
        for e in evaluations
    ]
    lines.append(f"| n | {' | '.join(counts)} |")
    return lines


def cell(name: str, figure: Estimate) -> str:
    """A figure with its interval: rates in per cent."""
    if name.startswith(_RATES):
        return str(figure)
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def _auc(figure: Estimate) -> str:
    return f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}], n={figure.n:,}"
