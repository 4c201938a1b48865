"""The machine that a benchmark runs on, in words."""

from __future__ import annotations

import os
import platform
from pathlib import Path

_TELLING = {"avx512f": "AVX-512", "avx2": "AVX2"}  # the widest first


def machine() -> str:
    """Processor, what it computes in, and cores: "AMD EPYC, AVX-512 with bfloat16, 2 cores"."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    parts = (line.partition(":") for line in lines)
    facts = {key.strip(): value.strip() for key, _, value in parts}
    name = facts.get("model name") or platform.processor() or platform.machine()
    known = facts.get("flags", "").split()
    width = next((told for flag, told in _TELLING.items() if flag in known), "")
    width += " with bfloat16" if width and "avx512_bf16" in known else ""
    return ", ".join([name, *([width] if width else []), f"{os.cpu_count()} cores"])
