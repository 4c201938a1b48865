"""Small pictures for the report: inside the page, or files beside it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from siamese import imaging
from siamese.config import ImagingSettings
from siamese.files import replace_file, sha256_of
from siamese.pictures import parse_page
from siamese.scoring import ENROLLED

_SIZE = (300, 120)


class Thumbnails:
    """Each picture is made once; a file that cannot be read has none.

    Parameters
    ----------
    root : where the names of files start.
    enrolled : pictures of enrolled references, by image id.
    folder : where the pictures go; none: into the page, as data URLs.
    """

    def __init__(
        self,
        root: Path,
        settings: ImagingSettings,
        enrolled: Mapping[str, Path],
        folder: Path | None,
    ) -> None:
        self.root, self.settings, self.enrolled, self.folder = root, settings, enrolled, folder
        self.made: dict[tuple[str, str], str] = {}

    def of(self, name: str | None, image_id: str | None) -> str:
        """URL of the thumbnail of a file, or of an enrolled reference; empty when there is none."""
        if not name or not image_id:
            return ""
        if (name, image_id) not in self.made:
            self.made[name, image_id] = self._make(name, image_id)
        return self.made[name, image_id]

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
        text, page = parse_page(name)
        path = self.root / text
        if name.startswith(ENROLLED):
            path, page = self.enrolled.get(image_id, path), 1
        try:
            data = path.read_bytes()
            return self._small(imaging.decode(data, self.settings, page))
        except (OSError, ValueError):  # an ImageRefused is a ValueError
            return ""

    def _small(self, grey: imaging.Grey) -> str:
        picture = Image.fromarray(grey)
        picture.thumbnail(_SIZE)
        out = io.BytesIO()
        picture.save(out, "WEBP", quality=60)
        return self.keep(out.getvalue())
