"""Memory that was freed, and that the allocators still hold."""

from __future__ import annotations

import ctypes
from contextlib import suppress

import pyarrow as pa


def give_back_memory() -> None:
    """Return to the system what this process has freed.

    Arrow and glibc keep it, glibc in a heap a thread: some 150 MB between one stage and the next.
    Where the C library has no ``malloc_trim``, its part is left as it is.
    """
    pa.default_memory_pool().release_unused()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
