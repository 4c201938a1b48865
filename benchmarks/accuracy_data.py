"""The signatures that the accuracy benchmark trains on and measures, and whose they are."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import baselines
import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image, ImageFilter

from siamese import imaging, reading
from siamese.config import ImagingSettings, PairSettings
from siamese.pairs import build_pairs
from siamese.pictures import Picture, hash_pictures
from siamese.preparing import canvas_store, prepare_files, stored_canvases
from siamese.sources import kaggle, layouts
from siamese.splitting import assert_disjoint, parse_writers
from siamese.training import SignatureSet

SEED = 2011
SHARED = Path(os.environ.get("SIGNATURE_DATA", Path(__file__).parents[2] / "shared" / "data"))
SPLITS = {
    "train": {"dutch": "001-040", "hindi": "001-072"},
    "calibration": {"dutch": "041-048", "hindi": "073-080"},
    "test": {"dutch": "049-069", "hindi": "081-100"},
}
SOURCES = tuple(SPLITS["test"])
Canvases = npt.NDArray[np.uint8]


def _small(picture: Image.Image) -> Image.Image:
    size = (72, max(1, round(picture.height * 72 / picture.width)))
    return picture.resize(size, Image.Resampling.BOX)


def _out_of_focus(picture: Image.Image) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(picture.width / 250))


def _faxed(picture: Image.Image) -> Image.Image:
    half = picture.reduce(2)
    threshold = imaging.otsu_threshold(np.asarray(half))
    return half.point(lambda level: 255 if level > threshold else 0)


#: What may become of a scan on its way, and of what quality the JPEG is that it comes as. Training
#: knows none of them: it varies canvases, after imaging.
WORSE: Mapping[str, tuple[Callable[[Image.Image], Image.Image], int]] = {
    "72 pixels wide": (_small, 75),
    "out of focus": (_out_of_focus, 75),
    "half the size, black and white": (_faxed, 75),
    "JPEG of quality 10": (Image.Image.copy, 10),
}


def levelled(canvases: Canvases) -> Canvases:
    """As ours are: the same histogram of ink for all."""
    return np.stack([imaging.level_ink(canvas) for canvas in canvases])


class Data:
    """All signatures, on canvases as ours are made, or with some of that left out."""

    def __init__(self, store: Path) -> None:
        self.settings = ImagingSettings()
        tables = []
        for source, listing in (
            ("dutch", kaggle.read(SHARED / "kaggle-signature-verification" / "sign_data")),
            ("hindi", layouts.read_bhsig260(SHARED / "BHSig260" / "Hindi")),
        ):
            table = pd.DataFrame([vars(image) for image in listing.images])
            table = table[table["part"] != "test"]  # a copy of what is in train
            table["path"] = [str(listing.root / path) for path in table["path"]]
            tables.append(table.assign(source=source))
        images = pd.concat(tables, ignore_index=True)
        ids = hash_pictures(Picture(Path(path)) for path in images["path"])
        images["image_id"] = [ids[Picture(Path(path))] for path in images["path"]]
        images = images.drop_duplicates("image_id")
        files = [(row.image_id, Path(row.path)) for row in images.itertuples()]
        facts = prepare_files(files, self.settings, canvas_store(store, self.settings))
        facts = facts.loc[images["image_id"]]
        images["quality"] = facts["quality"].to_numpy()
        images["perceptual_hash"] = facts["perceptual_hash"].to_numpy()
        images["split"] = ""
        for split, ranges in SPLITS.items():
            for source, text in ranges.items():
                names = parse_writers(text)
                mine = (images["source"] == source) & images["writer"].isin(names)
                images.loc[mine, "split"] = split
        images["writer"] = images["source"] + ":" + images["writer"]
        good = (images["split"] != "") & images["quality"].isin(imaging.USABLE)
        self.images = images[good].reset_index(drop=True)
        whose = self.images[["writer", "split"]].drop_duplicates()
        assert_disjoint(self.images.drop(columns="split"), whose)
        size = self.settings
        self.ours: Canvases = stored_canvases(
            canvas_store(store, size), self.images["image_id"].tolist(), size
        )

    @cached_property
    def with_paper(self) -> Canvases:
        """As ours, but with the paper left in: the grey picture, inverted, in the ink's box."""
        return np.stack([self._with_paper(*self.read(path)) for path in self.images["path"]])

    @cached_property
    def with_tone(self) -> Canvases:
        """As ours, but with the ink's tone as it is lifted from the paper, not levelled."""
        return np.stack(
            [imaging.place_on_canvas(self.read(p)[1], self.settings) for p in self.images["path"]]
        )

    @cached_property
    def whole(self) -> Canvases:
        """The whole picture with its paper, inverted, squeezed onto the canvas."""
        return np.stack([self._squeezed(255 - self.read(p)[0]) for p in self.images["path"]])

    @cached_property
    def whole_ink(self) -> Canvases:
        """The whole picture, ink alone, squeezed onto the canvas: no crop, no proportions."""
        return np.stack(
            [self._squeezed(imaging.level_ink(self.read(p)[1])) for p in self.images["path"]]
        )

    @cached_property
    def worse(self) -> Mapping[str, tuple[Canvases, npt.NDArray[np.bool_]]]:
        """All pictures, those of calibration and test writers after each of :data:`WORSE`.

        Canvases of all, and which of them imaging takes.
        """
        changed = np.flatnonzero(self.images["split"] != "train")
        found = {}
        for name, (change, quality) in WORSE.items():
            canvases, taken = self.ours.copy(), np.ones(len(self.images), bool)
            for row, path in zip(changed, self.images["path"].iloc[changed], strict=True):
                out, grey = io.BytesIO(), reading.decode(Path(path).read_bytes(), self.settings)
                change(Image.fromarray(grey)).save(out, "JPEG", quality=quality)
                made = imaging.prepare(out.getvalue(), self.settings)
                canvases[row], taken[row] = made.pixels, made.usable
            found[name] = canvases, taken
        return found

    def read(self, path: str) -> tuple[reading.Grey, reading.Grey]:
        """The grey picture and its ink."""
        grey = imaging.shrink(reading.decode(Path(path).read_bytes(), self.settings))
        return grey, imaging.remove_specks(imaging.lift_ink(grey))

    def _with_paper(self, grey: reading.Grey, ink: reading.Grey) -> reading.Grey:
        rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
        box = (255 - grey)[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return imaging.place_on_canvas(np.maximum(box, 1), self.settings)

    def _squeezed(self, picture: reading.Grey) -> reading.Grey:
        size = self.settings
        small = baselines.resized(picture[None], size.height, size.width)
        return (small[0, 0] * 255).round().byte().numpy()

    def pairs(self, split: str, settings: PairSettings) -> pd.DataFrame:
        """Pairs of each source by itself: a random forgery is by a writer of the same source."""
        mine = self.images[self.images["split"] == split]
        made = [build_pairs(part, settings, SEED) for _, part in mine.groupby("source")]
        return pd.concat(made, ignore_index=True)

    def signatures(
        self, split: str, canvases: Canvases, sources: Sequence[str] = SOURCES, every: int = 1
    ) -> SignatureSet:
        """A split's signatures: of all its writers, or of every so-many-th."""
        mine = (self.images["split"] == split) & self.images["source"].isin(sources)
        some = np.unique(self.images["writer"][mine])[::every]
        return self.set_of(self.images[mine & self.images["writer"].isin(some)], canvases)

    def set_of(self, images: pd.DataFrame, canvases: Canvases) -> SignatureSet:
        """Some of the images, with their canvases of all."""
        return SignatureSet(
            canvases[images.index],
            images["writer"].to_numpy(str),
            (images["kind"] == "genuine").to_numpy(),
            images["image_id"].to_numpy(str),
        )
