"""The claims report: one HTML file that opens offline, for people who decide.

All text goes into the page as data and is shown with ``textContent``; a Content-Security-
Policy with the script's own hash lets nothing else run. Nothing is fetched.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from siamese import imaging
from siamese.claims import parse_page
from siamese.evaluation import Evaluation
from siamese.figures import claims_histogram_svg, det_svg
from siamese.files import replace_file, sha256_of, write_text
from siamese.tables import CLAIM_DECISIONS, DECISIONS
from siamese.verifier import Verifier

#: Up to this many claims the pictures are inside the page; past it, in a folder beside it.
_EMBEDDED_CLAIMS = 300
_THUMBNAIL = (300, 120)


def write_report(
    decisions: pd.DataFrame,
    claims_root: Path,
    verifier: Verifier,
    folder: Path,
    provenance: Mapping[str, Any],
) -> Path:
    """Render ``report.html`` into a folder, with ``thumbnails/`` where there are many claims.

    Parameters
    ----------
    decisions : a decisions table; further columns are shown too.
    claims_root : where the table's paths start.
    provenance : shown in the header: model version, claims fingerprint, code version.
    """
    embed = len(decisions) <= _EMBEDDED_CLAIMS
    thumbnails = _Thumbnails(claims_root, verifier, None if embed else folder / "thumbnails")
    rows = [_row(record, thumbnails) for record in decisions.to_dict("records")]
    further = [name for name in decisions.columns if name not in CLAIM_DECISIONS.schema.names]
    environment = Environment(
        loader=PackageLoader("siamese", "."), autoescape=True, undefined=StrictUndefined
    )
    script = environment.loader.get_source(environment, "report.js")[0]  # type: ignore[union-attr]
    compared = decisions.loc[decisions["n_references"] > 0, "n_references"]
    usual = int(compared.mode().iloc[0]) if len(compared) else 1
    measured = _nearest(verifier.background.get("det", {}), usual)
    distances = (
        decisions.loc[decisions["n_references"] == usual, "distance"]
        .dropna()
        .to_numpy(dtype=np.float64)
    )
    page = environment.get_template("report.html").render(
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=_as_script_data({"rows": rows, "further": further}),
        totals={name: int((decisions["decision"] == name).sum()) for name in DECISIONS},
        total=len(decisions),
        facts=_facts(verifier, provenance),
        expected=_expected(verifier),
        histogram=claims_histogram_svg(
            distances,
            verifier.background.get("distances", {}).get(
                str(verifier.calibration(usual).n_references), {}
            ),
            verifier.calibration(usual),
        ),
        det=det_svg(
            verifier.background.get("det", {}).get(measured, {}),
            f"Test writers, {measured} reference{'' if measured == '1' else 's'}",
        ),
    )
    path = folder / "report.html"
    write_text(path, page)
    return path


def _nearest(measured: Mapping[str, Any], n_references: int) -> str:
    """Of the numbers of references that were measured, the one nearest to a batch's."""
    return min(measured, key=lambda n: abs(int(n) - n_references), default="1")


def _row(record: Mapping[str, Any], thumbnails: _Thumbnails) -> dict[str, Any]:
    clean = {name: None if _absent(value) else value for name, value in record.items()}
    clean["scored_at"] = str(clean["scored_at"])
    clean["questioned_picture"] = thumbnails.of(clean["questioned"])
    clean["reference_picture"] = thumbnails.of(clean["closest_reference"])
    return clean


def _absent(value: object) -> bool:
    return value is None or value is pd.NaT or (isinstance(value, float) and np.isnan(value))


class _Thumbnails:
    """Small pictures for the page, each made once; none for a file that cannot be read."""

    def __init__(self, root: Path, verifier: Verifier, folder: Path | None) -> None:
        self.root, self.settings, self.folder = root, verifier.imaging_settings, folder
        self.made: dict[str, str] = {}

    def of(self, name: str | None) -> str:
        """A data or relative URL, empty when there is nothing to show."""
        if not name:
            return ""
        if name not in self.made:
            path, page = parse_page(name)
            self.made[name] = self._make(self.root / path, page)
        return self.made[name]

    def _make(self, path: Path, page: int) -> str:
        try:
            grey = imaging.decode(path.read_bytes(), self.settings, page)
        except (OSError, imaging.ImageRefused):
            return ""
        picture = Image.fromarray(grey)
        picture.thumbnail(_THUMBNAIL)
        out = io.BytesIO()
        picture.save(out, "WEBP", quality=60)
        data = out.getvalue()
        if self.folder is None:
            return f"data:image/webp;base64,{base64.b64encode(data).decode()}"
        name = f"{sha256_of(data)[:24]}.webp"
        with replace_file(self.folder / name) as handle:
            handle.write(data)
        return f"thumbnails/{name}"


def _as_script_data(value: object) -> str:
    """JSON that cannot close its script element."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _facts(verifier: Verifier, provenance: Mapping[str, Any]) -> dict[str, str]:
    policy = verifier.policy
    return {
        **{name: str(value) for name, value in provenance.items()},
        "Trained on data": str(verifier.provenance.get("data_fingerprint", "")),
        "Policy": (
            f"accept while FAR_skilled ≤ {policy.max_far_skilled:.1%}, reject while "
            f"FRR ≤ {policy.max_frr:.1%}, prior {policy.prior:.0%} genuine"
        ),
    }


def _expected(verifier: Verifier) -> list[dict[str, str]]:
    """What the policy does on test writers, by number of references."""
    rows = []
    for data in verifier.background.get("evaluations", []):
        one = Evaluation.from_dict(data)
        row = {"References": str(one.n_references), "Test writers": str(one.writers)}
        for name, title in (
            ("policy_far_skilled", "Skilled forgeries accepted"),
            ("policy_far_random", "Random forgeries accepted"),
            ("policy_frr", "Genuine rejected"),
            ("review", "Sent to review"),
        ):
            figure = one.figures.get(name)
            row[title] = f"{figure} (n={figure.n:,})" if figure else "not measured"
        rows.append(row)
    return rows
