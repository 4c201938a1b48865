"""Faults of a dataset that would make its figures lie, found before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

import pandas as pd

from siamese.config import AuditSettings
from siamese.errors import InputError
from siamese.sources.listing import PublishedPairs

#: A pair list whose label is told this well by the second path's folder alone leaks.
_TELLING = 0.98


class AuditRefused(InputError):
    """The dataset leaks and the settings say to stop."""


@dataclass(frozen=True)
class Finding:
    """One fault: ``leak`` makes figures lie, ``notice`` is good to know.

    ``found`` says what and how much, ``done`` what was done about it.
    """

    level: Literal["leak", "notice"]
    code: str
    found: str
    done: str


def audit_files(
    files: pd.DataFrame,
    published_pairs: Sequence[tuple[str, PublishedPairs]],
    unread: Sequence[tuple[str, str]],
    settings: AuditSettings,
) -> tuple[pd.DataFrame, list[Finding]]:
    """Look for leaks, and keep what can be used.

    Parameters
    ----------
    files : a FILES table.
    published_pairs : (source, list of pairs) as they came with the data.
    unread : (name, why) of files that a source could not place.

    Returns
    -------
    kept : FILES rows, one a distinct picture. findings : what was found and done.

    Raises
    ------
    AuditRefused : a leak was found and ``settings.on_leak`` is ``"stop"``.
    """
    findings = [
        *_test_copies(files),
        *(
            finding
            for source, pairs in published_pairs
            if (finding := _telling_pairs(source, pairs))
        ),
    ]
    if settings.on_leak == "stop" and findings:
        raise AuditRefused(" ".join(finding.found for finding in findings))
    contradictory, told = _contradictory(files)
    kept = files[~files["image_id"].isin(contradictory)]
    repeated = int(kept["image_id"].duplicated().sum())
    kept = kept.drop_duplicates("image_id")
    genuine = kept[kept["kind"] == "genuine"].groupby("writer").size()
    enough = set(genuine[genuine >= settings.min_images].index)
    few = sorted(set(kept["writer"]) - enough)
    findings += told
    if repeated:
        findings.append(
            Finding(
                "notice",
                "copies",
                f"{repeated} file(s) are byte-identical copies of another file.",
                "Each picture is used once.",
            )
        )
    if few:
        findings.append(
            Finding(
                "notice",
                "few_images",
                f"{len(few)} writer(s) have fewer than {settings.min_images} genuine "
                f"signatures: {some(few)}.",
                "They are left out.",
            )
        )
    if unread:
        findings.append(
            Finding(
                "notice",
                "not_placed",
                f"{len(unread)} file(s) could not be placed: "
                f"{some([f'{name} ({why})' for name, why in unread])}.",
                "They are left out.",
            )
        )
    return kept[kept["writer"].isin(enough)].reset_index(drop=True), findings


def _test_copies(files: pd.DataFrame) -> list[Finding]:
    findings = []
    for source, mine in files.groupby("source", observed=True):
        trained = set(mine.loc[mine["part"] == "train", "image_id"])
        test = mine[mine["part"] == "test"]
        copies = int(test["image_id"].isin(trained).sum())
        if copies:
            findings.append(
                Finding(
                    "leak",
                    "test_in_train",
                    f"{source}: {copies} of {len(test)} files in test/ are byte-identical to "
                    "files in train/, so a model trained on train/ has seen its test.",
                    "The published split is not used: writers are split anew, and no writer is "
                    "in two splits.",
                )
            )
    return findings


def _telling_pairs(source: str, pairs: PublishedPairs) -> Finding | None:
    """Does the label follow from the second path's folder, with no look at the reference?"""
    if not pairs.rows:
        return None
    frame = pd.DataFrame(pairs.rows, columns=["first", "second", "label"])
    marked = [PurePosixPath(path).parent.name.endswith("_forg") for path in frame["second"]]
    agreement = float((pd.Series(marked, dtype=int) == frame["label"]).mean())
    if max(agreement, 1 - agreement) < _TELLING or frame["label"].nunique() < 2:
        return None
    return Finding(
        "leak",
        "label_from_folder",
        f"{source}: in {pairs.path} the label follows from the second path's folder in "
        f"{max(agreement, 1 - agreement):.1%} of {len(frame):,} pairs, so a model can score "
        "without looking at the reference.",
        "The list is not used: pairs are rebuilt from the images, with random forgeries.",
    )


def _contradictory(files: pd.DataFrame) -> tuple[set[str], list[Finding]]:
    told = files.groupby("image_id").agg({"writer": "nunique", "kind": "nunique"})
    bad = set(told[(told["writer"] > 1) | (told["kind"] > 1)].index)
    if not bad:
        return bad, []
    paths = files.loc[files["image_id"].isin(bad), "path"].tolist()
    return bad, [
        Finding(
            "notice",
            "contradiction",
            f"{len(bad)} picture(s) occur under two writers or as genuine and forged: "
            f"{some(paths)}.",
            "They are left out.",
        )
    ]


def some(names: Sequence[str]) -> str:
    """The first five names, and how many more there are."""
    shown = ", ".join(map(str, names[:5]))
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
