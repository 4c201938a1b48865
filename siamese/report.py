"""The claims report: an HTML file that opens offline, for people who decide.

Past some thousand claims it is in several files, each of them whole, those for review first.

All text goes into the page as data and is shown with ``textContent``; a Content-Security-
Policy with the script's own hash lets nothing else run. Nothing is fetched.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from jinja2 import Environment, PackageLoader, StrictUndefined

from siamese.decoding import Decoders
from siamese.drift import Shift, usual_references
from siamese.evaluation import policy_figures
from siamese.figures import claims_histogram_svg, det_svg
from siamese.files import write_text
from siamese.intervals import Estimate
from siamese.parquet import in_parts, open_parquet
from siamese.preparing import Progress
from siamese.tables import CLAIM_DECISIONS, DECISIONS
from siamese.thumbnails import Thumbnails
from siamese.tiers import Tiers
from siamese.verifier import Verifier

#: Up to this many claims the pictures are inside the page; past it, in a folder beside it.
_EMBEDDED_CLAIMS = 300
#: Claims of one file.
_PART = 5000
_ORDER = ("review", "unusable", "reject", "accept")
#: Columns of the decisions that each row of the page has; the others are the same for all.
_SHOWN = (
    "claim_id", "decision", "reason", "reason_detail", "distance", "p_genuine", "log10_lr",
    "n_references", "closest_reference", "questioned", "questioned_quality", "reference_quality",
    "questioned_id",
)  # fmt: skip


@dataclass(frozen=True)
class Findings:
    """What is shown besides the decisions.

    explanations : Parquet file of :data:`siamese.explaining.EXPLANATIONS`, in the decisions'
    order. shifts : of the batch against the calibration data. enrolled : pictures of enrolled
    references, by image id. provenance : for the header; model, claims fingerprint, code version
    and date.
    """

    explanations: Path
    shifts: Sequence[Shift]
    provenance: Mapping[str, Any]
    enrolled: Mapping[str, Path] = field(default_factory=dict)


def write_report(
    decisions: Path,
    claims_root: Path,
    verifier: Verifier,
    findings: Findings,
    folder: Path,
    *,
    workers: int = 0,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Render ``report.html`` into a folder, with ``thumbnails/`` where there are many claims.

    Parameters
    ----------
    decisions : file of a decisions table; further columns are shown too.
    claims_root : where the table's paths start.
    verifier : under the policy that was decided by.
    workers : see :class:`siamese.decoding.Decoders`.
    """
    made = CLAIM_DECISIONS.columns(decisions, ("decision", "n_references", "distance"))
    total = len(made)
    beside = None if total <= _EMBEDDED_CLAIMS else folder / "thumbnails"
    thumbnails = Thumbnails(claims_root, verifier.imaging_settings, findings.enrolled, beside)
    names = pq.read_schema(decisions).names
    further = [name for name in names if name not in CLAIM_DECISIONS.schema.names]
    environment = Environment(
        loader=PackageLoader("siamese", "."), autoescape=True, undefined=StrictUndefined
    )
    script = environment.loader.get_source(environment, "report.js")[0]  # type: ignore[union-attr]
    usual = usual_references(made)
    template = environment.get_template("report.html").render
    same = {
        "script": script,
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "totals": {name: int((made["decision"] == name).sum()) for name in DECISIONS},
        "total": total,
        "facts": _facts(verifier, findings.provenance),
        "expected": _expected(verifier),
        "shifts": findings.shifts,
        "usual": usual,
        "histogram": _histogram(made, verifier, usual),
        "det": _det(verifier, usual),
    }
    count = max(-(-total // _PART), 1)
    parts = ["report.html", *(f"report-{number}.html" for number in range(2, count + 1))]
    drawn, done = _Explanations(findings.explanations), 0
    with Decoders(workers) as decoders:
        for name, some in zip(parts, _ordered(decisions, total), strict=True):
            data = {
                "rows": _rows(some, further, drawn, thumbnails, decoders),
                "further": further,
                "batch": {key: str(value) for key, value in findings.provenance.items()},
            }
            page = template(data=_as_script_data(data), parts=parts, part=name, **same)
            write_text(folder / name, page)
            done += len(some)
            progress(done, total)
    return folder / parts[0]


def _ordered(decisions: Path, total: int) -> Iterator[pd.DataFrame]:
    """The table in parts; of several parts, those for review come first."""
    if total <= _PART:
        yield CLAIM_DECISIONS.read(decisions)
        return
    kept: list[pd.DataFrame] = []
    for decision in _ORDER:
        for some in CLAIM_DECISIONS.parts(decisions, _PART):
            kept.append(some[some["decision"] == decision])
            if sum(map(len, kept)) >= _PART:
                table = pd.concat(kept, ignore_index=True)
                yield table.iloc[:_PART]
                kept = [table.iloc[_PART:]]
    if any(map(len, kept)):
        yield pd.concat(kept, ignore_index=True)


class _Explanations:
    """Pictures of claims that are asked for in the order of the file, which is read once."""

    def __init__(self, path: Path) -> None:
        parts = in_parts(open_parquet(path), 64)
        self._rows = (row for part in parts for row in part.to_pylist())
        self._next = next(self._rows, None)

    def of(self, claim_id: str) -> dict[str, Any] | None:
        found = self._next
        if found is None or found["claim_id"] != claim_id:
            return None
        self._next = next(self._rows, None)
        return found


def _rows(
    decisions: pd.DataFrame,
    further: Sequence[str],
    drawn: _Explanations,
    thumbnails: Thumbnails,
    decoders: Decoders,
) -> list[dict[str, Any]]:
    columns = (("questioned", "questioned_id"), ("closest_reference", "closest_reference_id"))
    pictures = thumbnails.make(
        (one for pair in columns for one in zip(*(decisions[name] for name in pair), strict=True)),
        decoders,
    )
    rows = []
    for record in decisions.to_dict("records"):
        row = {name: None if _absent(record[name]) else record[name] for name in _SHOWN}
        # Under a name of their own: a manifest's column cannot pass for one of the page's.
        row["further"] = [record[name] for name in further]
        for title, (name, image_id) in zip(("questioned", "reference"), columns, strict=True):
            row[f"{title}_picture"] = pictures.get((record[name], record[image_id]), "")
        if explained := drawn.of(record["claim_id"]):
            row["overlay"] = thumbnails.keep(explained["overlay"])
            row["difference"] = thumbnails.keep(explained["difference"])
        rows.append(row)
    return rows


def _absent(value: object) -> bool:
    return value is None or value is pd.NaT or (isinstance(value, float) and np.isnan(value))


def _histogram(decisions: pd.DataFrame, verifier: Verifier, usual: int) -> str:
    distances = decisions.loc[decisions["n_references"] == usual, "distance"].dropna()
    calibration = verifier.calibration(usual)
    trials = verifier.record.calibrated_with(calibration.n_references)
    return claims_histogram_svg(distances.to_numpy(dtype=np.float64), trials, calibration)


def _det(verifier: Verifier, usual: int) -> str:
    """Empty when the model was tested on nobody."""
    trials = verifier.record.tested_near(usual)
    return det_svg(trials, verifier.calibration(trials.n_references)) if trials else ""


def _as_script_data(value: object) -> str:
    """JSON that cannot close its script element."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _facts(verifier: Verifier, provenance: Mapping[str, Any]) -> dict[str, str]:
    policy = verifier.policy
    facts = {
        **{name: str(value) for name, value in provenance.items()},
        "Trained on data": str(verifier.provenance.get("data_fingerprint", "")),
        "Policy": (
            f"accept while FAR_skilled ≤ {policy.max_far_skilled:.1%}, reject while "
            f"FRR ≤ {policy.max_frr:.1%}, prior {policy.prior:.0%} genuine"
        ),
    }
    for tier in policy.tiers:
        facts[f"Policy from {policy.amount_column} {tier.amount_from:g}"] = (
            f"FAR_skilled ≤ {tier.max_far_skilled:.1%}, FRR ≤ {tier.max_frr:.1%}"
        )
    if again := verifier.provenance.get("recalibration"):
        facts["Recalibrated"] = f"from {again['from']} on {again['claims']} labelled claims"
    return facts


def _expected(verifier: Verifier) -> list[dict[str, str]]:
    """What the policy does on people the model has not seen, by tier and number of references."""
    again = verifier.provenance.get("recalibration")
    if again:
        about = {
            "Measured on": f"{again['claims']} labelled claims, each writer left out in turn",
            "References": "1",
        }
        same = again["policy"] == str(verifier.policy.at(None)) and not verifier.policy.tiers
        found = again["after"] if same else {}
        return [about | _figures({name: Estimate(**one) for name, one in found.items()})]
    seed = int(verifier.provenance.get("seed", 0))
    tiers = Tiers.of(verifier)
    rows = []
    for amount, one in zip(tiers.amounts, tiers.verifiers, strict=True):
        for trials in one.record.test:
            n = trials.n_references
            about = {"Measured on": f"{len(np.unique(trials.writer))} test writers"}
            if tiers.column:
                about["Claims"] = "all" if amount == -np.inf else f"{tiers.column} ≥ {amount:g}"
            about["References"] = str(n)
            figures = policy_figures(trials, one.calibration(n), one.policy, seed)
            rows.append(about | _figures(figures))
    return rows


def _figures(figures: Mapping[str, Estimate]) -> dict[str, str]:
    titles = {
        "policy_far_skilled": "Skilled forgeries accepted",
        "policy_far_random": "Random forgeries accepted",
        "policy_frr": "Genuine rejected",
        "review": "Sent to review",
    }
    return {
        title: f"{figures[name]} (n={figures[name].n:,})" if name in figures else "not measured"
        for name, title in titles.items()
    }
