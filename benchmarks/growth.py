"""Time and memory of a whole scoring run, report included, as the number of claims grows.

    python benchmarks/growth.py DATA [--claims 1000 10000 100000] [--set FIELD=VALUE ...]

DATA is a data folder with a champion (``siamese demo`` or ``siamese train`` makes one); its
registry is copied, so that every run starts from an empty store. Each claim has a questioned
picture of its own: a real scan at half its size, moved, and a little lighter or darker. Runs
``siamese score`` and watches the memory of it and of its decoders; the Prefect API's process is
watched too, and told apart. Adds to docs/growth.json, by settings (say, a policy that sends fewer
claims to review), and draws docs/growth.png from all in it.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import real_claims
from machine import machine
from matplotlib.figure import Figure
from PIL import Image

DOCS = Path(__file__).parents[1] / "docs"


def draw(source: Path, target: Path, number: int) -> None:
    """A real scan, changed a little, and differently for every number."""
    rng = np.random.default_rng(number)
    with Image.open(source) as picture:
        grey = picture.convert("L").resize((picture.width // 2, picture.height // 2))
    page = Image.new("L", (grey.width + 16, grey.height + 16), int(np.median(np.asarray(grey))))
    page.paste(grey, (int(rng.integers(16)), int(rng.integers(16))))
    lighter = float(rng.uniform(0.97, 1.03))
    page.point(lambda level: min(255, round(level * lighter))).save(target)


def _draw_some(jobs: list[tuple[Path, Path, int]]) -> None:
    for job in jobs:
        draw(*job)


def build(root: Path, count: int) -> None:
    """A claims folder: a questioned picture of its own and one reference a claim."""
    (root / "q").mkdir(parents=True)
    (root / "r").mkdir()
    everyone = real_claims.writers(real_claims.SHARED)
    jobs, rows = [], []
    for number in range(count):
        writer = everyone[number % len(everyone)]
        turn = number // len(everyone)
        reference = writer.genuine[0]
        others = [*writer.genuine[1:], *writer.forged]
        asked = others[turn % len(others)]
        kept = root / "r" / f"{writer.name}{reference.suffix}"
        if not kept.exists():
            shutil.copy(reference, kept)
        name = f"q/{number:06d}.png"
        jobs.append((asked, root / name, number))
        rows.append((f"G-{number:06d}", name, f"r/{kept.name}"))
    with ProcessPoolExecutor() as pool:
        list(pool.map(_draw_some, [jobs[i : i + 500] for i in range(0, count, 500)]))
    with (root / "claims.csv").open("w", newline="") as out:
        csv.writer(out).writerows([("claim_id", "questioned", "reference"), *rows])


def watched(command: list[str], env: dict[str, str], log: Path) -> dict[str, float]:
    """Seconds and peak memory in MiB: of the program and its decoders (together, what they share
    counted each time, and of the largest alone) and of Prefect's API."""
    with log.open("wb") as out:
        began = time.perf_counter()
        process = psutil.Popen(command, env=env, stdout=out, stderr=out)
        most = {"program": 0.0, "largest": 0.0, "api": 0.0}
        cpu = 0.0
        while process.poll() is None:
            now = dict.fromkeys(most, 0.0)
            try:
                for one in (process, *process.children(recursive=True)):
                    kind = "api" if "uvicorn" in " ".join(one.cmdline()) else "program"
                    size = one.memory_info().rss / 2**20
                    now[kind] += size
                    if kind == "program":
                        now["largest"] = max(now["largest"], size)
                times = process.cpu_times()
                cpu = max(cpu, times.user + times.system)
            except psutil.Error:
                pass  # ended meanwhile
            most = {name: max(most[name], now[name]) for name in most}
            time.sleep(0.2)
    if process.returncode not in (0, 3):
        raise SystemExit(log.read_text()[-3000:])
    return {"seconds": time.perf_counter() - began, "cpu_seconds": cpu, **most}


def run(data: Path, count: int, settings: list[str]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        build(work / "claims", count)
        shutil.copytree(data / "mlflow", work / "data" / "mlflow")
        siamese = str(Path(sys.executable).with_name("siamese"))
        env = {**os.environ, "PREFECT_HOME": str(work / "prefect"), "COLUMNS": "200"}
        # Prefect's database is made before the clock starts.
        few = work / "few"
        build(few, 20)
        command = [siamese, "score", "--data-dir", str(work / "data")]
        watched([*command, str(few)], env, work / "few.log")
        command += [word for one in settings for word in ("--set", one)]
        return watched([*command, str(work / "claims")], env, work / "log")


def figure(found: dict[str, dict[str, dict[str, float]]]) -> Figure:
    drawn = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = drawn.subplots(1, 2)
    for settings, by_count in found.items():
        counts = sorted(map(int, by_count))
        minutes = [by_count[str(n)]["seconds"] / 60 for n in counts]
        (line,) = left.loglog(counts, minutes, "o-", label=settings.replace(" ", "\n"))
        colour, ends = line.get_color(), [counts[-1] / 100, counts[-1]]
        left.loglog(ends, [minutes[-1] * n / ends[1] for n in ends], ":", color=colour)
        memory = np.array([by_count[str(n)]["program"] for n in counts]) / 1024
        beside = np.array([by_count[str(n)]["api"] for n in counts]) / 1024
        right.semilogx(counts, memory, "o-", color=colour)
        right.semilogx(counts, memory + beside, "o--", color=colour, alpha=0.5)
        right.set_ylim(0, max(1.1 * float((memory + beside).max()), right.get_ylim()[1]))
    left.set(xlabel="claims", ylabel="minutes (dotted: as many times as long)",
             title="Time, report included")  # fmt: skip
    left.legend()
    right.set(xlabel="claims", ylabel="GiB (dashed: and Prefect's API)",
              title="Peak memory, decoders included")  # fmt: skip
    for axes in (left, right):
        axes.grid(alpha=0.3)
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--claims", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--set", action="append", default=[], dest="settings")
    arguments = parser.parse_args()
    path = DOCS / "growth.json"
    found = json.loads(path.read_text()) if path.is_file() else {}
    for count in arguments.claims:
        made = {"machine": machine(), **run(arguments.data.resolve(), count, arguments.settings)}
        print(count, made, flush=True)
        found.setdefault(" ".join(arguments.settings) or "defaults", {})[str(count)] = made
        path.write_text(json.dumps(found, indent=2) + "\n")
        figure(found).savefig(DOCS / "growth.png", dpi=110)


if __name__ == "__main__":
    main()
