"""What a registered version says of itself: what changed, and its figures beside the champion's."""

from __future__ import annotations

import pandas as pd
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from siamese.evaluation import Evaluation

_FIGURES = ("eer_skilled", "eer_random", "policy_far_skilled", "policy_frr", "review", "cllr")
_ABOUT_DATA = ("images", "writers")


def changelog(
    client: MlflowClient, model: str, run_id: str, evaluations: list[Evaluation], champion: str
) -> str:
    """Markdown: settings and data that differ from the champion's, and both one's figures.

    Parameters
    ----------
    champion : its version; empty where there is none yet.
    """
    new = client.get_run(run_id)
    of_champion = client.get_model_version(model, champion).run_id if champion else None
    old = client.get_run(of_champion) if of_champion else None
    beside = f"version {champion}, the champion" if champion else "nothing before it"
    lines = [f"## Against {beside}", "", *_changes(new, old), ""]
    lines += [f"| on unseen writers | this | {beside} |", "| --- | --- | --- |"]
    for one in evaluations:
        for name in _FIGURES:
            if name in one.figures:
                title = f"{name}, {one.n_references} ref."
                mine = one.figures[name]
                now = _told(name, mine.value, mine.low, mine.high)
                before = _known(old, one.n_references, name)
                lines.append(f"| {title} | {now} | {before} |")
    return "\n".join(lines)


def _changes(new: Run, old: Run | None) -> list[str]:
    """One line for each thing that differs."""
    counts = ", ".join(f"{new.data.metrics.get(f'data_{k}', 0):,.0f} {k}" for k in _ABOUT_DATA)
    if old is None:
        return [f"- Data: {counts}."]
    before = ", ".join(f"{old.data.metrics.get(f'data_{k}', 0):,.0f} {k}" for k in _ABOUT_DATA)
    names = sorted(set(new.data.params) | set(old.data.params))
    changed = [
        f"- `{name}`: {new.data.params.get(name, 'none')}, was {old.data.params.get(name, 'none')}."
        for name in names
        if new.data.params.get(name) != old.data.params.get(name)
    ]
    return [f"- Data: {counts}; was {before}.", *(changed or ["- The same settings."])]


def _known(run: Run | None, references: int, name: str) -> str:
    found = run.data.metrics if run else {}
    called = f"test_{references}ref_{name}"
    if called not in found:
        return ""
    return _told(name, *(found[f"{called}{end}"] for end in ("", "_low", "_high")))


def _told(name: str, value: float, low: float, high: float) -> str:
    if name == "cllr":
        return f"{value:.3f} [{low:.3f}, {high:.3f}]"
    return f"{value:.1%} [{low:.1%}, {high:.1%}]"


def data_counts(images: pd.DataFrame) -> dict[str, float]:
    """How much was learnt from, for the next version to compare with."""
    counts = {"images": float(len(images)), "writers": float(images["writer"].nunique())}
    return {f"data_{name}": counts[name] for name in _ABOUT_DATA}
