"""What a registered version says of itself: what changed, and its figures beside the champion's."""

from __future__ import annotations

import pandas as pd
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from siamese.evaluation import Evaluation
from siamese.intervals import Estimate
from siamese.modelcard import TITLES, cell
from siamese.tables import DECISIONS, PAIR_KINDS

_FIGURES = ("eer_skilled", "eer_random", "policy_far_skilled", "policy_frr", "review", "cllr")
_ABOUT_DATA = ("images", "writers")


def changelog(
    client: MlflowClient,
    model: str,
    run_id: str,
    evaluations: list[Evaluation],
    scores: pd.DataFrame,
    champion: str,
) -> str:
    """Markdown: what differs from the champion, both one's figures, and what is decided on what.

    Parameters
    ----------
    scores : of the test pairs, with their decisions.
    champion : its version; empty where there is none yet.
    """
    new = client.get_run(run_id)
    of_champion = client.get_model_version(model, champion).run_id if champion else None
    old = client.get_run(of_champion) if of_champion else None
    title = f"## Against version {champion}, the champion" if champion else "## The first version"
    beside = f" version {champion} |" if champion else ""
    lines = [title, "", *_changes(new, old), ""]
    lines += [f"| on unseen writers | this |{beside}", "| --- | --- |" + " --- |" * bool(beside)]
    for one in evaluations:
        for name in _FIGURES:
            if name in one.figures:
                now = cell(name, one.figures[name])
                before = f" {_known(old, one.n_references, name)} |" if champion else ""
                lines.append(f"| {TITLES[name]}, {one.n_references} ref. | {now} |{before}")
    return "\n".join([*lines, "", *_confusion(scores), ""])


def _confusion(scores: pd.DataFrame) -> list[str]:
    """How many pairs of each kind are decided how."""
    named = DECISIONS[:3]
    lines = [f"| test pairs, 1 ref. | {' | '.join(named)} |", "| --- " * (len(named) + 1) + "|"]
    for kind in PAIR_KINDS:
        mine = scores.loc[scores["kind"] == kind, "decision"]
        if len(mine):
            cells = [f"{n:,} ({n / len(mine):.0%})" for n in ((mine == d).sum() for d in named)]
            lines.append(f"| {kind.replace('_', ' ')} | {' | '.join(cells)} |")
    return lines


def _changes(new: Run, old: Run | None) -> list[str]:
    """One line for each thing that differs."""
    if old is None:
        return [f"- Data: {_amounts(new)}."]
    names = sorted(set(new.data.params) | set(old.data.params))
    changed = [
        f"- `{name}`: {new.data.params.get(name, 'none')}, was {old.data.params.get(name, 'none')}."
        for name in names
        if new.data.params.get(name) != old.data.params.get(name)
    ]
    data = f"- Data: {_amounts(new)}; was {_amounts(old)}."
    return [data, *(changed or ["- The same settings."])]


def _amounts(run: Run) -> str:
    return ", ".join(f"{run.data.metrics.get(f'data_{k}', 0):,.0f} {k}" for k in _ABOUT_DATA)


def _known(run: Run | None, references: int, name: str) -> str:
    found = run.data.metrics if run else {}
    called = f"test_{references}ref_{name}"
    if called not in found:
        return ""
    value, low, high = (found[f"{called}{end}"] for end in ("", "_low", "_high"))
    return cell(name, Estimate(value, low, high, n=0, writers=0))


def data_counts(images: pd.DataFrame) -> dict[str, float]:
    """How much was learnt from, for the next version to compare with."""
    counts = {"images": float(len(images)), "writers": float(images["writer"].nunique())}
    return {f"data_{name}": counts[name] for name in _ABOUT_DATA}
