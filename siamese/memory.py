"""Memory that was freed: held for the next batch, and given back at the end of a stage."""

from __future__ import annotations

import ctypes
from contextlib import suppress

import pyarrow as pa

# Of mallopt(3): freed memory at the end of a heap that is held, and blocks that are taken from it.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = (-1, 2**30), (-3, 2**29)


def hold_memory() -> None:
    """Have this process hold what it frees, for the next batch, until :func:`give_back_memory`.

    Else glibc hands each large block back to the system, which clears a new one for the next
    batch: up to a fifth of the time of a training step. Where the C library has no ``mallopt``,
    all stays as it is.
    """
    with suppress(AttributeError):
        for option, value in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
            ctypes.CDLL(None).mallopt(option, value)


def give_back_memory() -> None:
    """Return to the system what this process has freed.

    Arrow and glibc keep it, glibc in a heap a thread: some 150 MB between one stage and the next.
    Where the C library has no ``malloc_trim``, its part is left as it is.
    """
    pa.default_memory_pool().release_unused()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
