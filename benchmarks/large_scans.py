"""Large JPEGs decoded small, against the same decoded whole: time, and what becomes of the EER.

    python benchmarks/large_scans.py DATA [--times 4]

DATA is a data folder with a champion. Scans of calibration writers (Dutch 041-048, Hindi 073-080)
are enlarged so many times and saved as JPEG, as a camera or a fine scanner would have them. Both
ways make the canvases of all, in turn, on one core. Prints Markdown.
"""

from __future__ import annotations

import argparse
import io
import time
from pathlib import Path
from unittest import mock

import numpy as np
import numpy.typing as npt
import torch
from accuracy_data import SOURCES, Data
from fusion import latest
from machine import machine
from PIL import Image

from siamese import imaging, reading
from siamese.pairwise import equal_errors
from siamese.verifier import Verifier

_SIDE = imaging._WORKING_SIDE  # pixels; imaging reduces what is twice as large


def enlarged(path: str, data: Data, times: int) -> bytes:
    """A scan as a JPEG whose longer side is that many times what imaging works on."""
    picture = Image.fromarray(reading.decode(Path(path).read_bytes(), data.settings))
    factor = (times * _SIDE + 8) / max(picture.size)
    size = round(picture.width * factor), round(picture.height * factor)
    out = io.BytesIO()
    picture.resize(size, Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
    return out.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--times", type=int, default=4)
    arguments = parser.parse_args()
    verifier = Verifier.load(latest(arguments.data, "calibrate").path)
    data = Data(arguments.data / "store")
    mine = data.images[data.images["split"] == "calibration"]
    taken = {"whole": 0.0, "small": 0.0}
    made: dict[str, list[npt.NDArray[np.uint8]]] = {name: [] for name in taken}
    for path in mine["path"]:
        scan = enlarged(path, data, arguments.times)
        for name, drafted in (("whole", mock.Mock()), ("small", reading._draft)):
            with mock.patch.object(reading, "_draft", drafted):
                began = time.perf_counter()
                canvas = imaging.prepare(scan, verifier.imaging_settings)
                taken[name] += time.perf_counter() - began
            made[name].append(canvas.pixels)
    print(f"{machine()}; {len(mine):,} scans, {arguments.times * _SIDE:,} pixels wide or high.\n")
    columns = [f"EER_skilled, EER_random, {source}" for source in SOURCES]
    print(f"| JPEGs decoded | ms a canvas | {' | '.join(columns)} |\n| --- | --- | --- | --- |")
    genuine = (mine["kind"] == "genuine").to_numpy()
    for name, canvases in made.items():
        vectors = torch.from_numpy(verifier.embed(np.stack(canvases)))
        cells = [f"{1000 * taken[name] / len(mine):.1f}"]
        for source in SOURCES:
            of = np.flatnonzero(mine["source"] == source)
            errors = equal_errors(vectors[of], mine["writer"].to_numpy(str)[of], genuine[of])
            cells.append(", ".join(f"{error:.2%}" for error in errors))
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"\nDecoded small, a canvas takes {taken['small'] / taken['whole']:.0%} of the time.")


if __name__ == "__main__":
    main()
