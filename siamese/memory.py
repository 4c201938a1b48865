"""Memory that was freed, held for the next batch and given back later; memory that is not."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pyarrow as pa

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # options of mallopt(3)


def hold_memory(largest: int) -> None:
    """Have this process hold what it frees, for the next batch, until :func:`give_back_memory`.

    Else glibc hands each block back to the system, which clears a new one for the next batch.
    Where the C library has no ``mallopt``, all stays as it is.

    Parameters
    ----------
    largest : block that is held, in bytes, < 512 MiB; larger ones go back at once. Of what is
        freed at the end of a heap (each thread has one), four times as much is held.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, largest)
        ctypes.CDLL(None).mallopt(_TRIM_THRESHOLD, 4 * largest)


@contextmanager
def leave_what_is_there() -> Iterator[None]:
    """Do not look for garbage, while this lasts, in what is in memory when it begins.

    Modules that are imported are hundreds of thousands of objects: to look through all takes a
    fifth of a second each time, and finds nothing.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def give_back_memory() -> None:
    """Return to the system what this process has freed.

    Arrow and glibc keep it, glibc in a heap a thread: some 150 MB between one stage and the next.
    Where the C library has no ``malloc_trim``, its part is left as it is.
    """
    pa.default_memory_pool().release_unused()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
