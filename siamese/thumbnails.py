"""Small pictures for the report: inside the page, or files beside it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from siamese.canvases import thumbnail
from siamese.config import ImagingSettings
from siamese.deciding import ENROLLED
from siamese.decoding import Decoders
from siamese.files import replace_file, sha256_of
from siamese.pictures import parse_page
from siamese.preparing import without_pydantic

#: What the decisions call a picture, and its image id.
Named = tuple[str, str]


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

    def make(self, named: Iterable[Named], decoders: Decoders) -> dict[Named, str]:
        """URLs of the thumbnails of files and of enrolled references; empty where there is none."""
        todo = [one for one in dict.fromkeys(named) if all(one)]
        work = partial(thumbnail, settings=without_pydantic(self.settings))
        places = [self._place(*one) for one in todo]
        made = (data for part in decoders.map(work, places, _nothing) for data in part)
        return {one: self.keep(data) for one, data in zip(todo, made, strict=True)}

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

    def _place(self, name: str, image_id: str) -> tuple[Path, int]:
        """File and page."""
        text, page = parse_page(name)
        if name.startswith(ENROLLED):
            return self.enrolled.get(image_id, self.root / text), 1
        return self.root / text, page


def _nothing(place: tuple[Path, int], reason: str) -> bytes:
    del place, reason
    return b""
