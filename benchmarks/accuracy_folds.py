"""Which parts of ours pay, on all training and calibration writers in turn; no test writer.

    python benchmarks/accuracy_folds.py [--only NAME ...]

The eight calibration writers of a source are too few to choose by (docs/accuracy.md). Here each
third of Dutch 001-048 and Hindi 001-080 is measured by what was found on the other two thirds, and
no step is selected. Distances are kept in data/benchmarks, so that a run that was stopped goes on;
--only measures some rows again. Writes docs/accuracy-folds.md and .json.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import accuracy_rows as rows
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from accuracy_code import code, code_of_vectors
from accuracy_data import SEED, SOURCES, Data
from accuracy_figures import ALL
from machine import machine
from torch.nn import functional

from siamese import embedding, fitting
from siamese.config import NetworkSettings, TrainingSettings
from siamese.files import fingerprint, replace_file, write_json, write_text
from siamese.intervals import Estimate, bootstrap_over_writers
from siamese.metrics import det_curve, eer, false_accept_rate, false_reject_rate
from siamese.model import build_network
from siamese.pairs import build_pairs
from siamese.training import train
from siamese.trials import Trials, pair_distances, single_trials

ROOT = Path(__file__).parents[1]
FOLDS = 3
Floats = npt.NDArray[np.float64]
Embed = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
Patched = Callable[[], rows.Patched]
#: A figure of the trials of one fold under weights (B, N), (B,).
Statistic = Callable[[Trials, Floats, int], Floats]


def strokes_alone(data: Data, known: pd.DataFrame, patched: Patched = nullcontext) -> Embed:
    """How strokes run, with all that is found of them before the first step."""
    network = build_network(NetworkSettings(), SEED).eval()
    some = data.set_of(known, data.ours)
    with patched():
        fitting.fit_strokes(network, some.canvases, some.writers, some.genuine, SEED)
    return lambda canvases: embedding.in_batches(
        lambda x: functional.normalize(network.beside(x), dim=1), canvases, torch.device("cpu")
    )


def network_alone(data: Data, known: pd.DataFrame, **changes: Any) -> Embed:
    """The network without strokes, after its last step."""
    settings = TrainingSettings(steps=rows.ALONE, evaluate_every=rows.ALONE, **changes)
    writers = known["writer"].unique()
    held = known["writer"].isin(writers[:2])  # asked for, and selects nothing: there is one epoch
    made = train(
        data.set_of(known[~held], data.ours),
        data.set_of(known[held], data.ours),
        NetworkSettings(strokes=0),
        settings,
        SEED,
    )
    return lambda canvases: embedding.embed(made.network, canvases)


@dataclass(frozen=True)
class Part:
    """A row: what is trained on some images, and the row that it is a part taken out of."""

    title: str
    train: Callable[[Data, pd.DataFrame], Embed]
    of: str = ""


PARTS: Mapping[str, Part] = {
    "strokes": Part("how strokes run, as in ours", strokes_alone),
    "no_words": Part("… without the pieces that strokes are of",
                     lambda d, k: strokes_alone(d, k, rows.without_words), "strokes"),
    "one_scale": Part("… one scale for all hands",
                      lambda d, k: strokes_alone(d, k, rows.with_one_scale), "strokes"),
    "no_cohort": Part("… no cohort to hold hands against",
                      lambda d, k: strokes_alone(d, k, rows.without_cohort), "strokes"),
    "one_scanner": Part("… strokes as written and scanned, not bent or scanned otherwise",
                        lambda d, k: strokes_alone(d, k, rows.with_one_scanner), "strokes"),
    "network": Part(f"the network alone, {rows.ALONE} steps", network_alone),
    "single_margin": Part("… one margin", lambda d, k: network_alone(d, k, margin_genuine=0.0),
                          "network"),
}  # fmt: skip


def measured(data: Data, part: Part) -> pd.DataFrame:
    """Trials of each fold and source."""
    known = data.images[data.images["split"] != "test"]
    found = []
    for fold in range(FOLDS):
        held = [w for s in SOURCES for w in _writers(known, s)[fold::FOLDS]]
        mine = known[known["writer"].isin(held)]
        embed = part.train(data, known[~known["writer"].isin(held)])
        vectors = embed(data.ours[mine.index])
        ids = mine["image_id"].to_numpy(str)
        for source in SOURCES:
            pairs = build_pairs(mine[mine["source"] == source], ALL, SEED)
            trials = single_trials(pairs, pair_distances(pairs, ids, vectors))
            found.append(trials.to_frame().assign(fold=fold, source=source))
        print(f"  fold {fold + 1} of {FOLDS}", flush=True)
    return pd.concat(found, ignore_index=True)


def by_fold(table: pd.DataFrame) -> list[dict[str, Trials]]:
    """The trials of each fold, by source."""
    return [
        {str(source): Trials.from_frame(one) for source, one in mine.groupby("source")}
        for _, mine in table.groupby("fold")
    ]


def _writers(images: pd.DataFrame, source: str) -> npt.NDArray[np.str_]:
    return np.unique(images.loc[images["source"] == source, "writer"].to_numpy(str))


def figures(
    folds: Sequence[Mapping[str, Trials]], whole: Sequence[Mapping[str, Trials]] | None
) -> dict[str, Any]:
    """EERs by source, means of the folds; FAR and FRR at one threshold for both sources.

    Parameters
    ----------
    whole : the same trials of the row that this is a part taken out of: how much higher the EERs
        are than that row's.
    """
    found: dict[str, Any] = {}
    thresholds = [_one_threshold(fold) for fold in folds]
    for source in SOURCES:
        n = found[f"{source} n"] = {"genuine": 0}
        for name, kind in (("skilled", "skilled_forgery"), ("random", "random_forgery")):
            of = [fold[source].of("genuine", kind) for fold in folds]
            found[f"{source} eer_{name}"] = asdict(_estimate(of, _eer))
            n["genuine"] = sum(int(one.label.sum()) for one in of)
            n[name] = sum(len(one.label) for one in of) - n["genuine"]
            if whole:
                others = [fold[source].of("genuine", kind) for fold in whole]
                found[f"{source} more_{name}"] = asdict(_estimate(of, _more_than(others)))
        skilled = [fold[source].of("genuine", "skilled_forgery") for fold in folds]
        for name, rate in (("far_skilled", false_accept_rate), ("frr", false_reject_rate)):
            found[f"{source} {name}"] = asdict(_estimate(skilled, _at(thresholds, rate)))
    return found


def _more_than(others: Sequence[Trials]) -> Statistic:
    """How much higher the EER is than with the distances of others."""
    return lambda t, weights, fold: _eer(t, weights, fold) - _eer(others[fold], weights, fold)


def _eer(trials: Trials, weights: Floats, fold: int) -> Floats:  # noqa: ARG001
    return eer(-trials.distance, trials.label, weights)


def _at(thresholds: Sequence[float], rate: Callable[..., Floats]) -> Statistic:
    """A rate of errors at each fold's own threshold."""
    return lambda t, weights, fold: rate(-t.distance, t.label, -thresholds[fold], weights)


def _one_threshold(fold: Mapping[str, Trials]) -> float:
    """The distance of equal FAR_skilled and FRR, where both sources weigh the same."""
    both = [fold[source].of("genuine", "skilled_forgery") for source in SOURCES]
    distance, label = (np.concatenate([getattr(t, n) for t in both]) for n in ("distance", "label"))
    weights = np.concatenate(
        [np.where(t.label == 1, 1 / t.label.sum(), 1 / (1 - t.label).sum()) for t in both]
    )
    det = det_curve(-distance, label, weights)
    return -float(det.threshold[int(np.argmax(det.far >= det.frr))])


def _estimate(of: Sequence[Trials], statistic: Callable[[Trials, Floats, int], Floats]) -> Estimate:
    """Mean of the folds, with its interval over all their writers."""
    ends = np.cumsum([len(one.kind) for one in of])[:-1]

    def mean(weights: Floats) -> Floats:
        parts = np.split(weights, ends, axis=-1)
        return np.mean(
            [statistic(t, w, fold) for fold, (t, w) in enumerate(zip(of, parts, strict=True))], 0
        )

    return bootstrap_over_writers(
        mean,
        np.concatenate([one.writer for one in of]),
        questioned=np.concatenate([one.questioned_writer for one in of]),
        n=sum(len(one.kind) for one in of),
        resamples=300,
        seed=SEED,
    )


def page(results: Mapping[str, Any]) -> str:
    """The table in Markdown."""
    columns = {
        "eer_skilled": "EER_skilled", "more_skilled": "higher by",
        "eer_random": "EER_random", "more_random": "higher by",
        "far_skilled": "FAR_skilled at one threshold", "frr": "FRR there",
    }  # fmt: skip
    lines = [
        "# Which parts pay, on writers in turn",
        "",
        "```",
        "python benchmarks/accuracy_folds.py",
        "```",
        "",
        f"Seed {SEED}. {results['machine']}. Dutch writers 001-048 and Hindi 001-080, no test",
        f"writer: each of {FOLDS} folds (every third writer) is measured by what was found on the",
        "others. One reference; EERs are means of the folds, and FAR_skilled and FRR are at one",
        "threshold for both sources, that of the fold itself. *Higher by* is how much more an EER",
        "is without the part, on the same pairs. Intervals are 95 %, by bootstrap over writers",
        "(300 resamples; of a random pair both are drawn again).",
        "",
    ]
    for source in SOURCES:
        some = next(iter(results["rows"].values()))["figures"]
        n = ", ".join(f"{count:,} {kind}" for kind, count in some[f"{source} n"].items())
        lines += [
            f"## {source.capitalize()}, {some[f'{source} eer_skilled']['writers']} writers",
            "",
            f"n = {n} pairs.",
            "",
            "| | " + " | ".join(columns.values()) + " |",
            "| --- " * (len(columns) + 1) + "|",
        ]
        for row in results["rows"].values():
            cells = [_cell(row["figures"], f"{source} {name}") for name in columns]
            lines.append(f"| {row['title']} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _cell(figures: Mapping[str, Any], name: str) -> str:
    if name not in figures:
        return ""
    form = "{:+.1f} points [{:+.1f}, {:+.1f}]" if "more" in name else "{:.1f}% [{:.1f}%, {:.1f}%]"
    return form.format(*(100 * figures[name][end] for end in ("value", "low", "high")))


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(PARTS), help="these rows, again")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder of the results")
    arguments = parser.parse_args()
    made_by = fingerprint(code_of_vectors(), Path(__file__).read_text())
    data = Data(ROOT / "data" / "store")
    pictures = fingerprint(data.images["image_id"].tolist())
    kept = ROOT / "data" / "benchmarks" / fingerprint(made_by, pictures)
    kept.mkdir(parents=True, exist_ok=True)
    tables: dict[str, list[dict[str, Trials]]] = {}
    results: dict[str, Any] = {"code": code(), "machine": machine(), "rows": {}}
    for name, part in PARTS.items():
        path = kept / f"fold-{FOLDS}-{name}.parquet"
        if name in (arguments.only or ()) or not path.is_file():
            print(part.title, flush=True)
            with replace_file(path) as file:
                measured(data, part).to_parquet(file)
        tables[name] = by_fold(pd.read_parquet(path))
        found = figures(tables[name], tables.get(part.of))
        results["rows"][name] = {"title": part.title, "figures": found}
        write_json(arguments.out / "accuracy-folds.json", results)
        write_text(arguments.out / "accuracy-folds.md", page(results))
    print(arguments.out / "accuracy-folds.md")


if __name__ == "__main__":
    main()
