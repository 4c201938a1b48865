"""The content-addressed store: found quickly, safe with many writers, mended when damaged."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import uuid
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from filelock import FileLock, Timeout
from hypothesis import given, settings
from hypothesis import strategies as st

from siamese.parquet import in_parts, open_parquet, parquet_bytes, parquet_writer
from siamese.places import Place
from siamese.store import ContentStore, embedding_schema

LENGTH = 4


def rows(first: int, count: int) -> pd.DataFrame:
    ids = [hashlib.sha256(f"{n}".encode()).hexdigest() for n in range(first, first + count)]
    vectors = np.arange(first, first + count, dtype=np.float32)[:, None] * np.ones(LENGTH)
    return pd.DataFrame({"image_id": ids, "embedding": list(vectors.astype(np.float32))})


def store(folder: Path) -> ContentStore:
    return ContentStore(folder, embedding_schema(LENGTH))


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(1, 700), min_size=1, max_size=5))
def test_what_was_put_is_found_whatever_the_parts(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    made = store(tmp_path_factory.mktemp("store"))
    known = []
    for size in sizes:
        part = rows(len(known), size)
        made.put(part)
        known += part["image_id"].tolist()
    wanted = [*known[::-3], "0" * 64]
    found = made.get(wanted)
    assert set(found.index) == set(wanted) - {"0" * 64}
    first = [vector[0] for vector in found.loc[wanted[:-1], "embedding"]]
    assert first == list(range(len(known)))[::-3]
    assert made.get([]).empty


def test_a_look_up_all_over_a_large_part_does_not_hold_it_all(tmp_path: Path) -> None:
    length, count = 2000, 64 * 256
    made = ContentStore(tmp_path, embedding_schema(length))
    ids = [f"{n:064d}" for n in range(count)]
    vectors = np.random.default_rng(1).random((count, length), np.float32)
    made.put(pd.DataFrame({"image_id": ids, "embedding": list(vectors)}))
    program = (
        "import sys, pyarrow as pa; from siamese.store import ContentStore, embedding_schema;"
        f"made = ContentStore(sys.argv[1], embedding_schema({length}));"
        f"found = made.get([f'{{n:064d}}' for n in range(0, {count}, 256)]);"
        "print(len(found), pa.default_memory_pool().max_memory())"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    found, most = subprocess.run(command, check=True, capture_output=True).stdout.split()
    assert int(found) == 64
    assert 0 < int(most) < vectors.nbytes


def test_small_parts_are_merged_and_a_reader_of_before_still_finds_all(tmp_path: Path) -> None:
    reader, writer = store(tmp_path), store(tmp_path)
    for number in range(60):
        writer.put(rows(number * 3, 3))
    assert len(reader.get(rows(0, 180)["image_id"].tolist())) == 180
    for number in range(60, 70):
        writer.put(rows(number * 3, 3))
    assert len(list(tmp_path.glob("part-*.parquet"))) < 20
    assert len(reader.get(rows(0, 210)["image_id"].tolist())) == 210


def test_merging_and_removing_hold_little_of_a_large_part(tmp_path: Path) -> None:
    count, length = 16_000, 1024
    made = ContentStore(tmp_path, embedding_schema(length))
    vectors = np.random.default_rng(1).random((count + 65, length), np.float32)
    ids = [f"{n:064d}" for n in range(count + 65)]
    made.put(pd.DataFrame({"image_id": ids[:count], "embedding": list(vectors[:count])}))
    for n in range(count, count + 63):
        made.put(pd.DataFrame({"image_id": ids[n : n + 1], "embedding": [vectors[n]]}))
    program = (
        "import sys, numpy as np, pandas as pd, pyarrow as pa, pyarrow.compute as pc\n"
        "from siamese.store import ContentStore, embedding_schema\n"
        f"made = ContentStore(sys.argv[1], embedding_schema({length}))\n"
        f"last = [np.zeros({length}, np.float32)]\n"
        "made.put(pd.DataFrame({'image_id': ['last'], 'embedding': last}))\n"
        "gone = made.remove(lambda part: pc.equal(part['image_id'], 'last'))\n"
        "print(gone, pa.default_memory_pool().max_memory())"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    gone, most = subprocess.run(command, check=True, capture_output=True).stdout.split()
    assert int(gone) == 1
    assert 0 < int(most) < vectors.nbytes / 4
    assert len(list(tmp_path.glob("part-*.parquet"))) == 1
    found = made.get(ids)
    assert sorted(found.index) == ids[: count + 63]
    assert np.array_equal(found.loc[ids[17], "embedding"], vectors[17])


def test_a_reader_slower_than_those_who_merge_has_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(tmp_path).put(rows(0, 10))
    read = Place.open

    def merged_meanwhile(place: Place, name: str) -> pa.NativeFile:
        with suppress(Timeout), FileLock(tmp_path / ".merge.lock", timeout=0):
            (part,) = tmp_path.glob("part-*.parquet")
            part.rename(tmp_path / f"part-{uuid.uuid4().hex}.parquet")
        return read(place, name)

    monkeypatch.setattr(Place, "open", merged_meanwhile)
    assert len(store(tmp_path).get(rows(0, 10)["image_id"].tolist())) == 10


_WRITER = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_store import rows, store
mine = store(Path({folder!r}))
for number in range(40):
    mine.put(rows({first} + number * 5, 5))
    assert len(mine.get(rows({first}, (number + 1) * 5)["image_id"].tolist())) == (number + 1) * 5
"""


@pytest.mark.slow
def test_writers_that_meet_lose_nothing(tmp_path: Path) -> None:
    tests = str(Path(__file__).parent)
    # The last two write the same rows.
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER.format(tests=tests, folder=str(tmp_path), first=first)]
        )
        for first in (0, 200, 200)
    ]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    ids = rows(0, 400)["image_id"].tolist()
    found = store(tmp_path).get(ids)
    assert len(found) == 400
    np.testing.assert_array_equal(np.stack(found.loc[ids, "embedding"])[:, 0], np.arange(400))


def test_parts_with_vectors_as_lists_are_read_and_merged(tmp_path: Path) -> None:
    made, known = store(tmp_path), rows(0, 200)
    ids = known["image_id"].tolist()
    for start in range(0, 128, 2):  # as versions before 2026-11-27 wrote them
        table = pa.Table.from_pandas(known[start : start + 2], made.schema, preserve_index=False)
        (tmp_path / f"part-{start}.parquet").write_bytes(parquet_bytes(table))
    made.put(known[128:164])
    assert made.get(ids)["embedding"].map(len).eq(LENGTH).all()
    (merged,) = tmp_path.glob("part-*.parquet")  # the last one put brought it about
    assert open_parquet(merged).schema_arrow.field("embedding").type == pa.binary(4 * LENGTH)
    made.put(known[164:])
    found = store(tmp_path).get(ids[::3])
    np.testing.assert_array_equal(
        np.stack(found.loc[ids[::3], "embedding"]), np.stack(known["embedding"])[::3]
    )


def test_a_damaged_part_is_set_aside(tmp_path: Path) -> None:
    made = store(tmp_path)
    made.put(rows(0, 10))
    (part,) = tmp_path.glob("part-*.parquet")
    part.write_bytes(part.read_bytes()[:-20])
    assert store(tmp_path).get(rows(0, 10)["image_id"].tolist()).empty
    made.put(rows(0, 10))
    assert len(store(tmp_path).get(rows(0, 10)["image_id"].tolist())) == 10


@pytest.mark.parametrize("kind", [pa.binary(4), pa.binary(8 * LENGTH), pa.int64()])
def test_a_part_with_vectors_of_another_kind_is_set_aside(
    tmp_path: Path, kind: pa.DataType
) -> None:
    ids = rows(0, 1)["image_id"].tolist()
    value = 1 if kind == pa.int64() else b"x" * kind.byte_width
    table = pa.table({"image_id": ids, "embedding": pa.array([value], kind)})
    (tmp_path / "part-0.parquet").write_bytes(parquet_bytes(table))
    assert store(tmp_path).get(ids).empty
    assert store(tmp_path).columns("embedding").empty
    assert [path.suffix for path in tmp_path.glob("part-*")] == [".damaged"]


def test_a_long_table_is_read_in_parts_and_one_of_them_is_in_memory(tmp_path: Path) -> None:
    schema = pa.schema([("number", pa.int64()), ("picture", pa.binary())])
    rng, path = np.random.default_rng(1), tmp_path / "pictures.parquet"
    with path.open("wb") as handle, parquet_writer(handle, schema) as writer:
        for start in range(0, 100, 5):
            pictures = [rng.bytes(2**18) for _ in range(5)]
            numbered = {"number": list(range(start, start + 5)), "picture": pictures}
            writer.write_table(pa.table(numbered, schema=schema))
    before, most, numbers = pa.total_allocated_bytes(), 0, list[int]()
    for part in in_parts(open_parquet(path), 12):
        most = max(most, pa.total_allocated_bytes() - before)
        assert len(part) <= 12
        numbers += part.column("number").to_pylist()
    assert numbers == list(range(100))
    assert most < 2**23, f"{most:,} bytes of 26,214,400 were held at a time"
    assert [len(part) for part in in_parts(open_parquet(path), 2)][:3] == [2, 2, 1]
