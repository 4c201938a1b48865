"""Decoding processes: one that hangs or dies costs the picture that did it, and no other."""

from __future__ import annotations

import os
import resource
import signal
import time
from functools import partial
from pathlib import Path

import psutil
import pytest
from PIL import Image

from siamese.canvases import File, Row, refused_file
from siamese.config import ImagingSettings
from siamese.decoding import Decoders
from siamese.files import sha256_of_file
from siamese.preparing import canvas_store, prepare_files


def act(what: str) -> str:
    if what == "hang":
        time.sleep(60)
    if what == "die":
        os._exit(7)
    if what == "hoard":
        return str(len(bytearray(5 * 2**30)))
    return what.upper()


def hang(file: File) -> tuple[Row, bool]:
    time.sleep(60)
    raise AssertionError(file)


def hoarding(what: str) -> str:
    try:
        return act(what)
    except MemoryError:
        return "no memory"


def test_hung_and_dead_ones_are_replaced_and_the_rest_is_done() -> None:
    things = [f"a{n}" for n in range(70)]
    things[5], things[40] = "hang", "die"
    with Decoders(2, patience=2) as decoders:
        parts = decoders.map(act, things, lambda thing, reason: f"{thing}: {reason}")
        found = [one for part in parts for one in part]
    assert found[5] == "hang: decoding took over 2 s"
    assert found[40] == "die: it made the decoder crash"
    others = [one for n, one in enumerate(found) if n not in (5, 40)]
    assert others == [thing.upper() for n, thing in enumerate(things) if n not in (5, 40)]


def test_a_process_may_take_four_gibibytes(capfd: pytest.CaptureFixture[str]) -> None:
    with Decoders(2) as decoders:
        parts = list(decoders.map(hoarding, ["hoard", "b"], lambda thing, reason: reason))
    assert [one for part in parts for one in part] == ["no memory", "B"]
    assert resource.getrlimit(resource.RLIMIT_AS)[0] in (-1, resource.RLIM_INFINITY)


def test_an_error_of_our_own_is_not_taken_for_a_bad_picture(tmp_path: Path) -> None:
    with Decoders(2) as decoders, pytest.raises(AttributeError):
        list(decoders.map(act, [1, 2], lambda thing, reason: reason))  # type: ignore[list-item]


def test_a_picture_that_hangs_has_its_row(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (200, 100), 255).save(path)
    settings = ImagingSettings()
    file = (sha256_of_file(path), path)
    with Decoders(2, patience=1) as decoders:
        (found,) = decoders.map(hang, [file], partial(refused_file, settings=settings))
    ((row, lasting),) = found
    assert row[5] == "unreadable"
    assert row[6].startswith("The file could not be decoded (decoding took over")
    assert not lasting


def process_of(thing: int) -> tuple[int, int]:
    time.sleep(0.02)
    return thing, os.getpid()


def test_no_more_processes_than_there_is_work_for() -> None:
    with Decoders(2) as decoders:
        for count, most in ((3, 1), (70, 2), (3, 2)):
            parts = decoders.map(process_of, range(count), lambda thing, reason: (thing, 0))
            found, processes = zip(*(one for part in parts for one in part), strict=True)
            assert found == tuple(range(count))
            assert 1 <= len(set(processes)) <= most
            assert not set(processes) & {0, os.getpid()}


def test_processes_that_were_begun_are_those_that_work() -> None:
    before = children()
    with Decoders(2) as decoders:
        decoders.begin(process_of, 0)
        assert children() == before
        decoders.begin(process_of, 70)
        begun = children() - before
        assert len(begun) == 2
        parts = decoders.map(process_of, range(70), lambda thing, reason: (thing, 0))
        assert {process for part in parts for _, process in part} <= begun
    with Decoders(1) as inside:
        inside.begin(process_of, 70)
        assert children() == before


def test_an_idle_process_that_ends_is_replaced() -> None:
    before = children()
    with Decoders(2) as decoders:
        decoders.begin(process_of, 70)
        list(decoders.map(process_of, range(70), lambda thing, reason: (thing, 0)))
        for process in children() - before:
            os.kill(process, signal.SIGKILL)
        parts = list(decoders.map(process_of, range(70), lambda thing, reason: (thing, 0)))
    assert [thing for part in parts for thing, _ in part] == list(range(70))


def children() -> set[int]:
    """Decoding processes of this one, which loky's watcher is not."""
    found = psutil.Process().children()
    return {one.pid for one in found if "resource_tracker" not in " ".join(one.cmdline())}


def test_few_pictures_are_shared_evenly_and_processes_that_rest_are_replaced() -> None:
    with Decoders(2) as decoders:
        parts = list(decoders.map(process_of, range(40), lambda thing, reason: (thing, 0)))
        assert [len(part) for part in parts] == [10] * 4
        decoders.rest()
        again = list(decoders.map(process_of, range(40), lambda thing, reason: (thing, 0)))
    assert [thing for part in again for thing, _ in part] == list(range(40))
    assert not {p for part in again for _, p in part} & {p for part in parts for _, p in part}


def test_a_decoder_imports_little_and_so_starts_soon(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (200, 100), 255).save(path)
    settings = ImagingSettings()
    store = canvas_store(tmp_path, settings)
    with Decoders(2) as decoders:
        prepare_files([(sha256_of_file(path), path)], settings, store, decoders=decoders)
        # Of the same process, which has made a canvas.
        (loaded,) = decoders.map(eval, ["[*__import__('sys').modules]"], lambda _, reason: [reason])
    assert {"numpy", "PIL", "siamese.canvases"} <= set(loaded[0])
    assert not {"torch", "pandas", "pyarrow", "scipy", "pydantic", "joblib"} & set(loaded[0])
