"""What the accuracy benchmark is to reach, and whether it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

#: Row, source, which trials, figure, whether it shall be at most or at least the bar, the bar.
Bar: TypeAlias = tuple[str, str, str, str, str, float]

OURS: Sequence[Bar] = (
    ("ours_long", "dutch", "1", "eer_skilled", "≤", 0.15),
    ("ours_long", "dutch", "1", "eer_random", "≤", 0.03),
    ("ours_long", "dutch", "1", "far_skilled from eer_skilled", "≤", 0.04),
    ("ours_long", "dutch", "1", "frr from eer_skilled", "≤", 0.04),
    ("ours_long", "dutch", "5", "eer_skilled", "≤", 0.12),
    ("ours_long", "hindi", "1", "eer_skilled", "≤", 0.08),
    ("ours_long", "hindi", "1", "eer_random", "≤", 0.02),
    ("ours_long", "hindi", "5", "eer_skilled", "≤", 0.04),
    ("ours_long", "dutch", "mixed", "auc_mixed", "≥", 0.97),
    ("ours_long", "hindi", "mixed", "auc_mixed", "≥", 0.97),
    ("ours_long", "dutch", "1", "cllr", "≤", 0.5),
    ("ours_long", "hindi", "1", "cllr", "≤", 0.5),
    ("ours_long", "dutch", "1", "cllr from cllr_min", "≤", 0.05),
    ("ours_long", "hindi", "1", "cllr from cllr_min", "≤", 0.05),
)
CARRIED_OVER: Sequence[Bar] = tuple(
    (row, source, "mixed", figure, sense, bar)
    for row, source in (("dutch_alone", "hindi"), ("hindi_alone", "dutch"))
    for figure, sense, bar in (
        ("auc_mixed", "≥", 0.94),
        ("far_mixed", "≤", 0.15),
        ("frr", "≤", 0.15),
    )
)


def lines_of_bars(rows: Mapping[str, Any]) -> Iterator[str]:
    """A table of the bars, for the rows that are there."""
    yield from (
        "## What is to be reached",
        "",
        "The bars, each by the row that it is meant for; the last six are for writers of a",
        "source that was left out of training and calibration.",
        "",
        "| row | test writers | figure | is | bar | |",
        "| --- | --- | --- | --- | --- | --- |",
    )
    for name, source, which, figure, sense, bar in (*OURS, *CARRIED_OVER):
        if "figures" not in rows.get(name, {}):
            continue
        value = _value(rows[name]["figures"][f"{source} {which}"]["figures"], figure)
        met = value <= bar if sense == "≤" else value >= bar
        about = {"1": ", 1 ref.", "5": ", 5 ref.", "mixed": ", mixed pairs"}[which]
        share = figure.startswith(("eer", "far", "frr"))
        shown, limit = (f"{x:.1%}" if share else f"{x:.3f}" for x in (value, bar))
        yield (
            f"| {rows[name]['title']} | {source.capitalize()} | {figure}{about} | {shown} "
            f"| {sense} {limit} | {'met' if met else '**missed**'} |"
        )
    yield ""


def _value(figures: Mapping[str, Any], figure: str) -> float:
    one, _, other = figure.partition(" from ")
    value = float(figures[one]["value"])
    return abs(value - figures[other]["value"]) if other else value
