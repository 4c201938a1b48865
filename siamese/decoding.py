"""Processes that make canvases: what a picture does to one of them, it does to no other picture.

A picture that a decoder hangs on, crashes on or runs out of memory on costs the process that has
it, which is replaced; the picture gets its reason and the others their canvases.
"""

from __future__ import annotations

import resource
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import Any, Self, TypeVar

import loky
import pebble
from loky.backend.context import LokyContext
from loky.backend.process import LokyProcess

_CHUNK = 32  # pictures that go to a process at a time, at most
_PARTS = 2  # a process, at least: all are done at about the same time
#: Seconds that a picture may take.
PATIENCE = 60.0
_MEMORY = 4 * 2**30  # bytes of address space of a process

T = TypeVar("T")
R = TypeVar("R")


class Decoders:
    """A pool of processes, for as long as its ``with`` block; no more than there is work for.

    Parameters
    ----------
    workers : processes at most; 0: one a core that this process may use, 1: none, all is done in
        this process and without a limit.
    patience : seconds that one picture may take.
    """

    def __init__(self, workers: int = 0, patience: float = PATIENCE) -> None:
        self.workers = workers or loky.cpu_count()
        self.inside = workers == 1
        self.patience = patience
        self._pool: pebble.ProcessPool | None = None
        self._begun: weakref.WeakSet[Future[Any]] = weakref.WeakSet()
        self._processes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.rest()

    def rest(self) -> None:
        """End the processes; a later map starts others."""
        self._have(0)

    def begin(self, work: Callable[[T], R], things: int) -> None:
        """Start the processes for a map of so many things, which soon follows; do not wait."""
        if self.inside or (needed := self._needed(things)) <= self._processes:
            return
        self._have(needed)
        for _ in range(needed):
            self._begin(work, [])  # what it imports takes most of a start

    def map(
        self, work: Callable[[T], R], things: Sequence[T], failed: Callable[[T, str], R]
    ) -> Iterator[list[R]]:
        """Results of ``work`` on each thing, in order, some at a time; one map after another.

        Parameters
        ----------
        work : importable by name; its exceptions are raised here.
        failed : the result of a thing that took too long or ended its process, and why.
        """
        if not things:
            return
        needed = self._needed(len(things))
        size = min(_CHUNK, -(-len(things) // (_PARTS * needed)))
        chunks = [things[i : i + size] for i in range(0, len(things), size)]
        if self.inside:
            yield from (_each(work, chunk) for chunk in chunks)
            return
        self.begin(work, len(things))
        # A few chunks ahead of whoever takes the results: no process waits, and nothing piles up.
        begun: deque[tuple[Sequence[T], Future[list[R]]]] = deque()
        for chunk in chunks:
            begun.append((chunk, self._begin(work, chunk)))
            if len(begun) > 2 * self.workers:
                yield self._result(work, failed, *begun.popleft())
        while begun:
            yield self._result(work, failed, *begun.popleft())

    def _needed(self, things: int) -> int:
        # To start a process takes longer than a chunk.
        return min(self.workers, -(-things // _CHUNK))

    def _have(self, processes: int) -> None:
        """So many, and none of those before."""
        if self._pool is not None:
            self._pool.stop()
            self._pool.join()
            self._pool = None
            for future in list(self._begun):  # some that a broken pool forgot
                with suppress(InvalidStateError):
                    future.set_exception(BrokenProcessPool("the processes were ended"))
            self._begun.clear()
        if processes:
            self._pool = pebble.ProcessPool(
                processes, initializer=_limit_memory, context=_Context()
            )
        self._processes = processes

    def _begin(self, work: Callable[[T], R], chunk: Sequence[T]) -> Future[list[R]]:
        assert self._pool is not None  # map sees to it
        if not self._pool.active:  # broken: a process ended that had nothing to do
            self._have(self._processes)
        future: Future[list[R]] = self._pool.schedule(
            _each, args=[work, chunk], timeout=self.patience
        )
        self._begun.add(future)
        return future

    def _result(
        self,
        work: Callable[[T], R],
        failed: Callable[[T, str], R],
        chunk: Sequence[T],
        future: Future[list[R]],
        last: bool = False,
    ) -> list[R]:
        try:
            return future.result()
        except BrokenProcessPool:  # by no picture
            if last:
                raise
            return self._result(work, failed, chunk, self._begin(work, chunk), last=True)
        except TimeoutError:
            reason = f"decoding took over {self.patience:g} s"
        except pebble.ProcessExpired:
            reason = "it made the decoder crash"
        if len(chunk) == 1:
            return [failed(chunk[0], reason)]
        # One of these was it: each by itself.
        parts = (self._result(work, failed, [one], self._begin(work, [one])) for one in chunk)
        return [result for part in parts for result in part]


class _Context(LokyContext):  # type: ignore[misc]
    """Processes that are not forked from this threaded one, do not import the user's script
    again, and do not start threads for a linear algebra that they have none of."""

    @staticmethod
    def Process(**arguments: Any) -> LokyProcess:
        return LokyProcess(**arguments, env={"OPENBLAS_NUM_THREADS": "1"})


def _each(work: Callable[[T], R], chunk: Sequence[T]) -> list[R]:
    return [work(thing) for thing in chunk]


def _limit_memory() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_AS)  # which nobody may raise
    most = _MEMORY if most == resource.RLIM_INFINITY else min(_MEMORY, most)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
