"""The accuracy benchmark's table and figure, from its figures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from accuracy_bars import lines_of_bars
from matplotlib.figure import Figure

_COLUMNS = (
    ("calibration", "eer_skilled", "EER_skilled, calibration writers"),
    ("calibration", "eer_random", "EER_random, calibration writers"),
    ("1", "eer_skilled", "EER_skilled, 1 ref."),
    ("1", "eer_random", "EER_random, 1 ref."),
    ("5", "eer_skilled", "EER_skilled, 5 ref."),
    ("5", "eer_random", "EER_random, 5 ref."),
    ("5 mean", "eer_skilled", "… fused by the mean"),
    ("mixed", "auc_mixed", "AUC, mixed pairs"),
    ("1", "far_skilled", "FAR_skilled at the frozen threshold"),
    ("1", "frr", "FRR there"),
    ("1", "cllr", "Cllr, 1 ref."),
    ("1", "above_min", "Cllr − Cllr_min"),
)
#: EER_skilled with one reference that is to be reached.
_BARS = {"dutch": 0.15, "hindi": 0.08}


def write_page(results: dict[str, Any], folder: Path) -> None:
    """``accuracy.md`` and ``accuracy.png`` in a folder."""
    names = {"dutch": "Dutch 049-069, 21 writers", "hindi": "Hindi 081-100, 20 writers"}
    rows = [row for row in results["rows"].values() if "figures" in row]
    if not rows:
        return
    steps = sorted({row["steps"] for row in rows})
    older = [row for row in rows if row["code"] != results["code"]]
    lines = [
        "# Accuracy on writers never seen",
        "",
        "```",
        *(f"python benchmarks/accuracy.py --steps {number}" for number in steps),
        "```",
        "",
        f"Seed {rows[0]['seed']}. {_machines(rows)} Trained on Dutch writers 001-040 and Hindi",
        "001-072 unless the row says otherwise; calibrated on Dutch 041-048 and Hindi 073-080; no",
        "writer and no picture, saved anew or not, is in two of them. All rows are measured on the",
        "same pairs. Intervals are 95 %, by bootstrap over writers (300 resamples, percentiles);",
        "of a random pair both writers are drawn again. Those of eight calibration writers cover",
        "less than 95 %. Writers are few, so small differences between rows are noise. What test",
        "writers say here is not used to choose anything. Cllr_min is fitted on the trials it is",
        "told of, so Cllr − Cllr_min is a little too large. Distances on test writers are",
        "stretched where hands lie near each other, as in bulk scoring (`siamese/stretch.py`; here",
        "all their genuine signatures say how near, there the references do), but for rows whose",
        "vectors are not of unit length. CPU minutes are those of training.",
        "",
        f"Ours and its variants see 80 pictures a step, in {' or '.join(map(str, steps))} steps",
        "unless the row says otherwise; the network alone in 500 (each picture in one pair: 833,",
        "for as many pictures in pairs). Each takes the best of five or six checkpoints on the",
        "calibration writers. Half and a quarter of the training writers are every second and",
        "fourth, one draw of many, selected and calibrated on as many as the rest.",
        "",
        "The baselines take their last step and do not augment. For want of time the notebook's",
        "nine epochs are of 1,500 pairs each (its own list has 23,206), 27,000 pictures in all,",
        "and the SigNet-like network sees half as many as ours does in as many steps; ours sees",
        "224,000 in 2,800. Their pairs are drawn from both sources alike, so most are Hindi. Their",
        "first weights follow from what ran before in the process, and the notebook's recipe",
        "depends on them: three runs gave EER_skilled 27.6, 36.8 and 38.1 % (Dutch), 23.9, 22.2",
        "and 24.6 % (Hindi) on whole pictures, of which the last is shown.",
        "",
        "Most of a distance after few steps is how strokes run, which no step is needed for. What",
        "helps learning is therefore taken out of the network alone, and read from the calibration",
        "writers' columns: whom no step is trained on, though the checkpoint is chosen on them.",
        "Which parts of how strokes run pay is told on more writers in",
        "[accuracy-folds.md](accuracy-folds.md).",
        "Augmentation is also taken out of the long row, for it can cost at few steps and pay at",
        "many. By the calibration writers it pays there, on pictures as they are and more on",
        "pictures that are scanned worse (below).",
        "",
        "The row with the ink's tone adds one number to ours, how far the tone of the ink spreads",
        "before it is levelled. Dutch forgeries nearly all lie on one side in it (below, how the",
        "sets were made), which is why ours levels it: it tells how a set was made, and nothing of",
        "a claim's pen and scanner.",
        "",
    ]
    if older:
        lines += [
            "† measured on an earlier version of the code; the same command measures these again.",
            "",
        ]
    for source, title in names.items():
        figures = rows[0]["figures"]
        lines += [
            f"## {title}",
            "",
            f"n, genuine / skilled / random: {_n(figures, f'{source} 1')} pairs, one reference;",
            f"{_n(figures, f'{source} 5')} questioned signatures, five references; "
            f"{_n(figures, f'{source} mixed')} mixed pairs;",
            f"{_n(figures, f'{source} calibration')} pairs of the "
            f"{figures[f'{source} calibration']['writers']} calibration writers.",
            "",
            "| | " + " | ".join(column[2] for column in _COLUMNS) + " | CPU minutes |",
            "| --- " * (len(_COLUMNS) + 2) + "|",
        ]
        for row in rows:
            cells = [
                _cell(row["figures"], f"{source} {which}", name) for which, name, _ in _COLUMNS
            ]
            lines.append(f"| {_title(row, results)} | {' | '.join(cells)} | {row['minutes']} |")
        lines.append("")
    lines += lines_of_bars(results["rows"])
    lines += _carried_over(rows, names, results)
    lines += _shifts(results)
    lines += _rescanned(rows, names, results)
    lines += [
        f"Failed: {row['title']}. {row['failed']}"
        for row in results["rows"].values()
        if "failed" in row
    ]
    lines += ["![EER_skilled with one reference, by row](accuracy.png)", ""]
    (folder / "accuracy.md").write_text("\n".join(lines))
    _figure(results).savefig(folder / "accuracy.png", dpi=110)


def _carried_over(
    rows: list[dict[str, Any]], names: dict[str, str], results: dict[str, Any]
) -> list[str]:
    """Thresholds of one source, used on another that no step and no threshold knows."""
    lines = [
        "## Carried over to a source that was left out",
        "",
        "Threshold and all else are as the row's own sources left them: other script, scanner and",
        "pens, and of the source left out no label but which signatures are references, and whose.",
        "One reference, mixed pairs (40 genuine, 20 skilled, 20 random a writer; n above). The",
        "last two columns are of distances that are not",
        "stretched; by how much they are follows from two numbers that were chosen on Dutch",
        "001-048 and Hindi 001-080, as were the weights of a description's parts, the number of",
        "its axes, the cohort's share and what strokes count beside shapes: the source left out",
        "has no part in what is trained or calibrated, but some in what was once chosen.",
        "",
        "| | on | AUC | EER_skilled | stretched by | FAR, skilled and random | FRR "
        "| FAR, not stretched | FRR, not stretched |",
        "| --- " * 9 + "|",
    ]
    for row in rows:
        for source in names if "sources" in row else ():
            if source in row["sources"]:
                continue
            figures, mixed = row["figures"], f"{source} mixed"
            cells = [
                names[source],
                _cell(figures, mixed, "auc_mixed"),
                _cell(figures, mixed, "eer_skilled"),
                f"{figures[f'{source} stretch']:.3f}",
                *(
                    _cell(figures, which, name)
                    for which in (mixed, f"{mixed}, not stretched")
                    for name in ("far_mixed", "frr")
                ),
            ]
            lines.append(f"| {_title(row, results)} | {' | '.join(cells)} |")
    return [*lines, ""]


def _shifts(results: dict[str, Any]) -> list[str]:
    """How forgeries of a set differ in what needs no comparison to see."""
    lines = [
        "## How the sets were made",
        "",
        "How far a writer's forgeries lie from the genuine signatures, in standard deviations of",
        "the genuine ones: mean of training and calibration writers, before the ink is levelled.",
        "Where all forgeries of a set differ alike in pen, scanner or size, whoever learns it",
        "tells them by how the set was made, and it is worth nothing elsewhere: the two differ",
        "in other ways.",
        "",
    ]
    facts = list(results["shifts"]["dutch"])
    lines += ["| | " + " | ".join(facts) + " |", "| --- " * (len(facts) + 1) + "|"]
    for source, found in results["shifts"].items():
        cells = [
            "{value:+.1f} [{low:+.1f}, {high:+.1f}]".format(**found[fact])
            if fact in found
            else "black and white"
            for fact in facts
        ]
        writers = next(iter(found.values()))["writers"]
        lines.append(f"| {source.capitalize()}, {writers} writers | {' | '.join(cells)} |")
    return [*lines, ""]


def _rescanned(
    rows: list[dict[str, Any]], names: dict[str, str], results: dict[str, Any]
) -> list[str]:
    """Pictures after what may happen to a scan, at the same frozen threshold."""
    lines = [
        "## The same pictures, scanned or saved worse",
        "",
        "Pictures of references and questioned signatures alike are changed before imaging sees",
        "them, as `WORSE` of `benchmarks/accuracy_data.py` says, and all are saved as JPEG.",
        "Training varies finished canvases (`siamese/augment.py`), and knows none of these. The",
        "threshold stays where the unchanged pictures of calibration writers put it. One",
        "reference; pairs with a picture that imaging refuses are left out.",
        "",
    ]
    for source, title in names.items():
        lines += [
            f"### {title}",
            "",
            "| | pictures | EER_skilled, calibration writers | EER_random, calibration writers "
            "| EER_skilled | EER_random | FAR_skilled at the frozen threshold | FRR there "
            "| pictures refused | n, genuine / skilled / random, of writers |",
            "| --- " * 10 + "|",
        ]
        for row in rows:
            figures = row["figures"]
            changed = [which for which in figures if which.startswith(f"{source} 1, ")]
            for which in [f"{source} 1", *changed] if changed else []:
                known = which.replace(f"{source} 1", f"{source} calibration")
                cells = [
                    *(_cell(figures, known, name) for name in ("eer_skilled", "eer_random")),
                    *(
                        _cell(figures, which, name)
                        for name in ("eer_skilled", "eer_random", "far_skilled", "frr")
                    ),
                ]
                pictures = which.partition(", ")[2] or "as they are"
                cells.append(f"{figures[which].get('refused', 0):.1%}")
                cells.append(f"{_n(figures, which)}, {figures[which]['writers']}")
                lines.append(f"| {_title(row, results)} | {pictures} | {' | '.join(cells)} |")
        lines.append("")
    return lines


def _machines(rows: list[dict[str, Any]]) -> str:
    """What rows were trained on, and how many on which where they differ."""
    facts = {"machine": "", "torch": "torch ", "precision": ""}
    found = Counter(
        ", ".join(f"{told}{row.get(fact, 'unknown')}" for fact, told in facts.items())
        for row in rows
    )
    told = [f"{count} rows: {where}" for where, count in found.items()]
    return f"{next(iter(found))}." if len(found) == 1 else f"{'; '.join(told)}."


def _title(row: dict[str, Any], results: dict[str, Any]) -> str:
    """Marked where the row was measured on other code than the rest."""
    return str(row["title"]) + ("" if row["code"] == results["code"] else " †")


def _n(figures: dict[str, Any], which: str) -> str:
    return " / ".join(f"{count:,}" for count in figures[which]["pairs"].values())


def _cell(figures: dict[str, Any], which: str, name: str) -> str:
    all_of_it = figures.get(which, {}).get("figures", {})
    if all_of_it and name == "above_min":
        return f"{all_of_it['cllr']['value'] - all_of_it['cllr_min']['value']:.3f}"
    found = all_of_it.get(name)
    if not found:
        return ""
    if name.startswith(("eer", "far", "frr")):
        return "{value:.1%} [{low:.1%}, {high:.1%}]".format(**found)
    return "{value:.3f} [{low:.3f}, {high:.3f}]".format(**found)


def _figure(results: dict[str, Any]) -> Figure:
    rows = [row for row in results["rows"].values() if "figures" in row]
    figure = Figure(figsize=(9, 0.45 * len(rows) + 1.2), layout="constrained")
    axes = figure.subplots()
    for shift, source, colour in ((-0.15, "dutch", "#D55E00"), (0.15, "hindi", "#0072B2")):
        for place, row in enumerate(rows):
            found = row["figures"][f"{source} 1"]["figures"]["eer_skilled"]
            axes.plot([found["low"], found["high"]], [place + shift] * 2, color=colour)
            axes.plot(found["value"], place + shift, "o", color=colour,
                      label=source if place == 0 else None)  # fmt: skip
        axes.axvline(_BARS[source], color=colour, linestyle=":", alpha=0.6)
    axes.set_yticks(range(len(rows)), [_title(row, results) for row in rows])
    axes.invert_yaxis()
    older = any(row["code"] != results["code"] for row in rows)
    axes.set(
        xlabel="EER_skilled on test writers with one reference,\n95 % interval; dotted: the bar"
        + ("\n(† on earlier code)" if older else ""),
        xlim=(0, None),
    )
    axes.grid(alpha=0.3, axis="x")
    axes.legend()
    return figure
