"""Small pictures for the report: inside the page, or files beside it."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from siamese import imaging
from siamese.config import ImagingSettings
from siamese.files import replace_file, sha256_of
from siamese.pictures import parse_page

_SIZE = (300, 120)


class Thumbnails:
    """Each picture is made once; a file that cannot be read has none.

    Parameters
    ----------
    root : where the names of files start.
    enrolled : canvases of enrolled references, by image id.
    folder : where the pictures go; none: into the page, as data URLs.
    """

    def __init__(
        self, root: Path, settings: ImagingSettings, enrolled: pd.Series, folder: Path | None
    ) -> None:
        self.root, self.settings, self.enrolled, self.folder = root, settings, enrolled, folder
        self.made: dict[str, str] = {}

    def of(self, name: str | None, image_id: str | None) -> str:
        """URL of the thumbnail of a file, or of an enrolled reference; empty when there is none."""
        if not name or not image_id:
            return ""
        if name not in self.made:
            self.made[name] = self._make(name, image_id)
        return self.made[name]

    def keep(self, data: bytes) -> str:
        """URL of a WebP picture, empty for none."""
        if not data:
            return ""
        if self.folder is None:
            return f"data:image/webp;base64,{base64.b64encode(data).decode()}"
        name = f"{sha256_of(data)[:24]}.webp"
        if not (self.folder / name).is_file():
            with replace_file(self.folder / name) as handle:
                handle.write(data)
        return f"{self.folder.name}/{name}"

    def _make(self, name: str, image_id: str) -> str:
        if image_id in self.enrolled.index:
            shape = (self.settings.height, self.settings.width)
            ink = np.frombuffer(self.enrolled[image_id], np.uint8).reshape(shape)
            return self._small(255 - ink)
        path, page = parse_page(name)
        try:
            data = (self.root / path).read_bytes()
            return self._small(imaging.decode(data, self.settings, page))
        except (OSError, ValueError):  # an ImageRefused is a ValueError
            return ""

    def _small(self, grey: imaging.Grey) -> str:
        picture = Image.fromarray(grey)
        picture.thumbnail(_SIZE)
        out = io.BytesIO()
        picture.save(out, "WEBP", quality=60)
        return self.keep(out.getvalue())
