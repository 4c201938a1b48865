"""Pictures that are embedded on other machines, which share no disk with this one.

Pictures travel as packets, Parquet files in a place that all can reach (a folder, or an address
such as ``s3://bucket/folder``). A packet is named by what is in it, by the verifier that it is for
and by who sent it, and its result by the packet: whoever makes it again, after a machine was lost,
makes the same, and who scores elsewhere or with another model has packets of his own. What comes
back goes into the stores, so that scoring finds all of it there and decides as it always does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from siamese.canvases import File
from siamese.claims import Claim, hash_claims
from siamese.enrolment import Enrolment
from siamese.files import fingerprint
from siamese.imaging import USABLE
from siamese.parquet import open_parquet, parquet_bytes
from siamese.places import Place
from siamese.preparing import prepare_files
from siamese.scoring import Stores, files_of, with_vectors
from siamese.store import CANVAS_SCHEMA
from siamese.verifier import Verifier

_BYTES = 128 * 2**20  # of pictures in a packet, or a single one that is larger
_REMEMBERED = 100_000  # pictures that were sent; more than are on their way
_OUT, _BACK, _MODELS = "pictures", "vectors", "models"
_PICTURES = pa.schema([("image_id", pa.string()), ("page", pa.int32()), ("data", pa.binary())])
# Of no fixed size: Parquet cannot hold such a list where it is missing.
_MADE = pa.schema([*CANVAS_SCHEMA, ("embedding", pa.list_(pa.float32()))])


def send_verifier(folder: Path, place: Place) -> str:
    """Put a saved verifier where other machines find it; returns its name there."""
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
    name = fingerprint(files)
    there = place / _MODELS / name
    for file in files.keys() - set(there.files("")):
        there.write(file, files[file])
    return name


def fetch_verifier(place: Place, name: str) -> Verifier:
    """The verifier of that name.

    Raises
    ------
    VerifierError : it is not there, or not as it was saved.
    """
    there = place / _MODELS / name
    with tempfile.TemporaryDirectory() as folder:
        for file in there.files(""):
            with there.open(file) as handle:
                (Path(folder) / file).write_bytes(handle.read())
        return Verifier.load(Path(folder))


def pack(
    claims: Sequence[Claim],
    enrolment: Enrolment,
    verifier: Verifier,
    stores: Stores,
    place: Place,
    step: int,
    sender: str = "",
) -> Iterator[str]:
    """Write packets of the pictures that the stores lack, of ``step`` claims at most.

    A picture that cannot be read is in none: scoring says what is wrong with it.

    Parameters
    ----------
    sender : names the stores, among those of all who use the place.

    Yields
    ------
    The name of each packet.
    """
    limit, enrolled = verifier.imaging_settings.max_bytes, enrolment.files
    hashed: dict[Path, str] = {}  # a reference is in claims of many packets
    sent: set[str] = set()  # and may be on its way with one of them
    for start in range(0, len(claims), step):
        some = claims[start : start + step]
        files = files_of(some, hash_claims(some, hashed), enrolled)
        todo = [file for file in _missing(files, stores) if file[0] not in sent]
        for rows in _contents(todo, limit):
            if len(sent) > _REMEMBERED:
                sent.clear()
            sent.update(row[0] for row in rows)
            within = [row[:2] for row in rows]
            name = f"{fingerprint(sender, verifier.embedding_fingerprint, within)}.parquet"
            _write(pd.DataFrame(rows, columns=_PICTURES.names), _PICTURES, place / _OUT, name)
            yield name


def _contents(files: Sequence[File], limit: int) -> Iterator[list[tuple[str, int, bytes]]]:
    """Rows of packets: what can be read of the files, so many bytes at a time."""
    rows: list[tuple[str, int, bytes]] = []
    held = 0
    for image_id, path, *page in files:
        try:
            data = path.read_bytes() if path.stat().st_size <= limit else None
        except OSError:
            continue
        if data is None:
            continue
        if rows and held + len(data) > _BYTES:
            yield rows
            rows, held = [], 0
        rows.append((image_id, page[0] if page else 1, data))
        held += len(data)
    if rows:
        yield rows


def embed_packet(name: str, place: Place, verifier: Verifier, workers: int = 0) -> None:
    """Make the canvases and vectors of a packet, unless they are made already.

    Parameters
    ----------
    workers : see :class:`siamese.decoding.Decoders`.
    """
    if name in (place / _BACK).files(".parquet"):
        return
    with tempfile.TemporaryDirectory() as folder:
        files: list[File] = []
        for row in _read(place / _OUT, name).itertuples():
            path = Path(folder) / f"{row.image_id}"
            path.write_bytes(row.data)
            files.append((row.image_id, path, row.page))
        stores = Stores.of(verifier, Path(folder) / "store")
        facts = prepare_files(files, verifier.imaging_settings, stores.canvases, workers=workers)
        vectors = with_vectors(facts, verifier, stores)["embedding"]
        made = stores.canvases.get(facts.index.tolist()).join(vectors)
    _write(made.reset_index(), _MADE, place / _BACK, name)


def unpack(name: str, place: Place, stores: Stores) -> int:
    """Put the result of a packet into the stores, and remove both; returns how many pictures."""
    made = _read(place / _BACK, name)
    stores.canvases.put(made[CANVAS_SCHEMA.names])
    stores.vectors.put(made.loc[made["quality"].isin(USABLE), ["image_id", "embedding"]])
    for folder in (_BACK, _OUT):
        (place / folder).remove(name)
    return len(made)


def _missing(files: Sequence[File], stores: Stores) -> list[File]:
    facts = stores.canvases.get([file[0] for file in files], ["quality"])
    good = facts.index[facts["quality"].isin(USABLE)]
    vectors = stores.vectors.get(good.tolist(), []).index
    known = set(facts.index.difference(good)) | set(vectors)
    return [file for file in files if file[0] not in known]


def _write(rows: pd.DataFrame, schema: pa.Schema, place: Place, name: str) -> None:
    table = pa.Table.from_pandas(rows, schema=schema, preserve_index=False)
    place.write(name, parquet_bytes(table))


def _read(place: Place, name: str) -> pd.DataFrame:
    with place.open(name) as handle:
        return open_parquet(handle).read().to_pandas()
