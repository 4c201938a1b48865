"""Pictures that people name: pages of files in a folder that nothing may leave."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from siamese import reading
from siamese.canvases import page_as_png, page_id
from siamese.config import ImagingSettings
from siamese.decoding import Decoders
from siamese.files import replace_file, sha256_of, sha256_of_file, shown
from siamese.manifests import ManifestError
from siamese.sources.listing import PICTURES

#: Files that hold signatures: pictures, and the pages of PDF files.
SCANS = PICTURES | {".pdf"}

_HASHES = 50_000  # of files that are kept
_DEEPEST = 20  # folders within a folder of pictures


@dataclass(frozen=True)
class Picture:
    """A page of a file; most files have one."""

    path: Path
    page: int = 1

    def name(self, root: Path) -> str:
        """As a manifest in ``root``, with all links followed, names it."""
        relative = shown(str(self.path).removeprefix(f"{str(root).rstrip('/')}/"))
        return relative if self.page == 1 else f"{relative}#page={self.page}"


def parse_page(name: str) -> tuple[str, int]:
    """File name and page of a picture's name.

    >>> parse_page("scan.pdf#page=2"), parse_page("scan#page=2.png")
    (('scan.pdf', 2), ('scan#page=2.png', 1))
    """
    text, _, number = name.partition("#page=")
    if number.isdecimal() and len(number) <= 6 and int(number):
        return text, int(number)
    return name, 1


class Folder:
    """A folder that no name in it may lead out of, whatever links there are in it.

    Where its folders and pictures really are, and whether they are there, is looked up once; an
    object of this class is not to outlive the reading of some rows.

    Parameters
    ----------
    besides : other folders that names may lead to.
    """

    def __init__(self, root: Path, besides: Iterable[Path] = ()) -> None:
        self.root = Path(os.path.realpath(root))
        self.besides = tuple(besides)
        self._allowed = [
            f"{os.path.realpath(folder).rstrip('/')}/" for folder in (root, *self.besides)
        ]
        self._real: dict[str, str] = {}
        self._known: dict[str, Picture | None] = {}
        self._expanded: dict[str, tuple[Picture | None, ...]] = {}
        self._there: dict[Picture, bool] = {}

    def again(self) -> Folder:
        """The same, with everything to be looked up anew."""
        return Folder(self.root, self.besides)

    def picture(self, name: str) -> Picture | None:
        """The picture, with links followed, when its path can be one and stays within."""
        if name not in self._known:
            self._known[name] = self._find(name)
        return self._known[name]

    def _find(self, name: str) -> Picture | None:
        text, page = parse_page(name)
        folder, file = os.path.split(os.path.join(self.root, text))  # noqa: PTH118
        try:
            if folder not in self._real:
                self._real[folder] = os.path.realpath(folder)
            path = f"{self._real[folder]}/{file}"
            if file in ("", "..", ".") or os.path.islink(path):  # noqa: PTH114
                path = os.path.realpath(path)
        except (OSError, ValueError):  # too long, a NUL in it
            return None
        return Picture(Path(path), page) if self._stays(path) else None

    def _stays(self, path: str) -> bool:
        """Whether a path without links in it is in one of the folders."""
        return any(f"{path}/".startswith(folder) for folder in self._allowed)

    def expand(self, name: str) -> tuple[Picture | None, ...]:
        """The picture itself or, of a folder, those in it; None for what leaves the root."""
        if name not in self._expanded:
            self._expanded[name] = self._expand(name)
        return self._expanded[name]

    def _expand(self, name: str) -> tuple[Picture | None, ...]:
        picture = self.picture(name)
        if picture is None or picture.path.suffix.lower() in SCANS or not is_folder(picture.path):
            return (picture,)
        if picture.path == self.root:  # everything there is
            return (None,)
        try:
            within = sorted(path for path in picture.path.iterdir() if path.suffix.lower() in SCANS)
        except OSError:
            return (picture,)
        return tuple(self.picture(str(path)) for path in within)

    def holds(self, picture: Picture) -> bool:
        """Whether its file is there."""
        if picture not in self._there:
            self._there[picture] = is_there(picture)
        return self._there[picture]

    def below(self, folder: Path, starts: Sequence[str] = ("",)) -> list[list[Picture]]:
        """Pictures in a folder and its folders, those whose names start so, for each start.

        Or all in a folder whose name does.

        Links that leave are not among them, nor what lies twenty folders deep.
        """
        paths: list[Path] = []
        inside = self._stays(os.path.realpath(folder))
        for here, folders, files in os.walk(folder) if inside else ():
            if len(Path(here).parts) - len(folder.parts) >= _DEEPEST:
                folders.clear()
            paths += [Path(here, name) for name in files if Path(name).suffix.lower() in SCANS]
        paths.sort(key=lambda path: path.parts)

        def called(path: Path) -> str:
            """The name of the folder that it is in goes before its own, where that tells."""
            first = path.relative_to(folder).parts[0].lower()
            return first if first.startswith(tuple(starts)) else path.name.lower()

        # Only of those that are asked for it is looked up where they really are.
        return [
            [
                picture
                for path in paths
                if called(path).startswith(start) and (picture := self.picture(str(path)))
            ]
            for start in starts
        ]


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; a name that no disk can hold is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def copy_picture(
    picture: Picture, settings: ImagingSettings, folder: Path, decoders: Decoders
) -> str:
    """Copy a picture into a folder, named by content; a page of several becomes a PNG.

    Parameters
    ----------
    decoders : processes that pages are decoded in.

    Returns
    -------
    Its name in the folder.

    Raises
    ------
    ImageRefused : it cannot be read.
    OSError : the copy cannot be written.
    """
    try:
        if picture.path.stat().st_size > settings.max_bytes:
            raise reading.ImageRefused(
                "too_large", f"The file is over {settings.max_bytes:,} bytes."
            )
        suffix = picture.path.suffix.lower()
        paged = picture.page > 1 or suffix == ".pdf"
        data = b"" if paged else picture.path.read_bytes()
    except OSError as error:
        raise reading.ImageRefused("unreadable", str(error)) from error
    if paged:
        made = partial(page_as_png, settings=settings)
        (((data, why),),) = decoders.map(made, [(picture.path, picture.page)], _undecoded)
        suffix = ".png"
        if why:
            raise reading.ImageRefused("unreadable", why)
    name = f"{sha256_of(data)}{suffix}"
    if not (folder / name).is_file():
        with replace_file(folder / name) as handle:
            handle.write(data)
    return name


def keep_only(folder: Path, names: Iterable[str]) -> None:
    """Remove from a folder of copies what nothing names: also what a killed process left."""
    named = set(names)
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in named and path.is_file():
            path.unlink(missing_ok=True)


def _undecoded(_: tuple[Path, int], why: str) -> tuple[bytes, str]:
    return b"", f"The file could not be decoded ({why})."


def is_there(picture: Picture) -> bool:
    """Whether its file is there."""
    try:
        return picture.path.is_file()
    except OSError:  # a name too long for the disk
        return False


def hash_pictures(
    pictures: Iterable[Picture], hashed: dict[Path, str] | None = None
) -> dict[Picture, str]:
    """The image id of each picture, from its file's content; each file is read once.

    Parameters
    ----------
    hashed : hashes of files that were read before; those of the others are added. Past 50,000 all
        are forgotten.
    """
    pictures = list(pictures)
    files: dict[Path, str] = {} if hashed is None else hashed
    if len(files) > _HASHES:
        files.clear()
    for path in dict.fromkeys(picture.path for picture in pictures):
        if path in files:
            continue
        try:
            files[path] = sha256_of_file(path)
        except OSError as error:
            # The name of the failure stands in for the content; preparing it says the rest.
            files[path] = sha256_of(f"unreadable {path} {error.strerror}".encode())
    return {picture: page_id(files[picture.path], picture.page) for picture in pictures}


def folder_of(root: Path) -> Path:
    """Where names start: a folder itself, or that of a manifest."""
    return root.parent if root.is_file() else root


def need_pdf_reader(pictures: Iterable[Picture], root: Path) -> None:
    """Refuse PDF files where nothing reads them.

    Raises
    ------
    ManifestError : there are some, and pypdfium2 is not installed.
    """
    if importlib.util.find_spec("pypdfium2") is None and any(
        picture.path.suffix.lower() == ".pdf" for picture in pictures
    ):
        raise ManifestError(
            f"There are PDF files in {root}; reading them needs: pip install pypdfium2"
        )
