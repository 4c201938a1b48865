"""Shared fixtures: real data and a browser where they are, and no settings from outside."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("SIGNATURE_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def kaggle_root() -> Path:
    """The public Kaggle copy."""
    root = SHARED / "kaggle-signature-verification" / "sign_data"
    if not root.is_dir():
        pytest.skip(f"real signatures are not at {root}; set SIGNATURE_DATA to their folder")
    return root


@pytest.fixture(scope="session")
def hindi_root() -> Path:
    """BHSig260, Hindi."""
    root = SHARED / "BHSig260" / "Hindi"
    if not root.is_dir():
        pytest.skip(f"real signatures are not at {root}; set SIGNATURE_DATA to their folder")
    return root


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's path."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("needs a program beyond Python: Chromium (apt-get install chromium)")
    return found


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests see neither this machine's settings nor its trackers."""
    for name in list(os.environ):
        if name.startswith("SIAMESE_") or name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL"):
            monkeypatch.delenv(name)
    # Whatever opens a tracking store in this process by itself opens one of the test's own.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/stray.db")
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
