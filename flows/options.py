"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[
    Path | None, typer.Option("--config", help="TOML file; none: siamese.toml if it is here.")
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help="Any setting, as in training.steps=500; repeatable."
    ),
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Where everything is written; none: data.")
]
Kinds = Annotated[
    list[str] | None,
    typer.Option(
        "--source",
        help="synthetic, kaggle, bhsig260, cedar or manifest; repeat to pool several.",
    ),
]
Paths = Annotated[
    list[Path] | None,
    typer.Option("--path", help="Folder or manifest of each --source, in the same order."),
]
