"""What is freed is held for the next batch, and given back when asked."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from siamese.memory import leave_what_is_there

_BATCHES = """
import sys
from resource import RUSAGE_SELF, getrusage

from siamese.memory import give_back_memory, hold_memory

if sys.argv[1] == "held":
    hold_memory(2**28)
size = 64_000_000
b"x" * size
before = getrusage(RUSAGE_SELF).ru_minflt
for _ in range(5):
    b"x" * size
print(getrusage(RUSAGE_SELF).ru_minflt - before)
pages = lambda: int(open("/proc/self/statm").read().split()[1])
before = pages()
give_back_memory()
print(before - pages())
"""


def _faults_and_given_back(how: str) -> tuple[int, int]:
    command = [sys.executable, "-c", _BATCHES, how]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    huge = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if huge.is_file() and "[always]" in huge.read_text():
        pytest.skip("one fault brings 512 pages here")
    faults, given_back = done.stdout.split()
    return int(faults), int(given_back)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone takes these options")
def test_the_next_batch_gets_what_the_last_one_freed_and_the_system_gets_it_in_the_end() -> None:
    faults, given_back = _faults_and_given_back("held")
    unheld, _ = _faults_and_given_back("not")
    pages = 64_000_000 // 4096
    assert faults < pages / 10 < 4 * pages < unheld
    assert given_back > pages * 0.9


def test_what_is_there_is_left_alone_for_a_while_and_garbage_is_found_all_the_same() -> None:
    found = gc.get_freeze_count()
    with leave_what_is_there():
        assert gc.get_freeze_count() > found
        loop: list[object] = []
        loop.append(loop)
        del loop
        assert gc.collect() >= 1
    assert gc.get_freeze_count() == 0
