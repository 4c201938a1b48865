"""The house is built as docs/architecture.md says: rooms, arrows between them, light commands."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "siamese"
HEAVY = {"torch", "mlflow", "prefect", "pandas", "pyarrow", "numpy", "scipy", "sklearn"}


def rooms() -> list[set[str]]:
    """Modules of each room, in the page's order."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = page.split("| room | what happens there | modules |")[1].split("\n\n")[0]
    lines = [line for line in table.splitlines()[2:] if line]
    return [set(re.findall(r"`([\w.]+)`", line.split("|")[3])) for line in lines]


def modules() -> dict[str, Path]:
    found = {}
    for path in LIBRARY.rglob("*.py"):
        name = ".".join(path.relative_to(LIBRARY).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    del found["__init__"]
    return found


def imports(path: Path, known: set[str]) -> set[str]:
    """Modules of the library that one imports when it is imported."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    names = {name.removeprefix("siamese.") for name in names if name.startswith("siamese.")}
    return names & known


def test_every_module_is_in_one_room_and_imports_go_to_the_left() -> None:
    of = {module: number for number, room in enumerate(rooms()) for module in room}
    known = modules()
    assert sum(map(len, rooms())) == len(of)
    assert of.keys() == known.keys()
    wrong = {
        (module, other)
        for module, path in known.items()
        for other in imports(path, set(known))
        if of[other] > of[module]
    }
    assert not wrong


def test_the_library_knows_neither_prefect_nor_mlflow() -> None:
    text = "".join(path.read_text() for path in LIBRARY.rglob("*.py"))
    assert not re.search(r"^\s*(import|from) (prefect|mlflow)\b", text, re.MULTILINE)
    assert not re.search(r"^\s*(import|from) (tasks|flows)\b", text, re.MULTILINE)


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, flows.cli; print(*{name.split('.')[0] for name in sys.modules})"
    told = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT).split()
    assert "typer" in told
    assert not HEAVY & set(told)
