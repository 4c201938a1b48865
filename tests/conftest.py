"""Shared fixtures: real data and a browser where they are, and no settings from outside."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, Page, sync_playwright
from programs import SIAMESE, System, prefect_serving, siamese
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

#: Programs, not modules.
collect_ignore = ["run_flows.py", "standby.py"]

#: Files whose tests share the demo's folder; with `-n 3` they are one process's, in order.
_OF_THE_SYSTEM = ("test_browser", "test_bulk", "test_claims", "test_commands", "test_system")
#: Files that take longest go first, so that none is left to wait for in the end.
_FIRST = (
    *_OF_THE_SYSTEM, "test_docs", "test_nights", "test_faults", "test_kills", "test_servers",
    "test_training", "test_schedule",
)  # fmt: skip

SHARED = Path(os.environ.get("SIGNATURE_DATA", Path(__file__).parents[2] / "shared" / "data"))


#: Fixtures that take a trained system or a server, and files whose tests take seconds each.
_SLOW_FIXTURES = {"system", "api", "sandbox", "postgres", "chromium", "hindi_root"}
_SLOW_FILES = (
    "test_faults", "test_kills", "test_schedule", "test_hostile", "test_training", "test_decoding",
    "test_docs", "test_recalibration", "test_servers", "test_distributed", "test_handwriting",
    "test_nights",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order of files, and what ``make test-fast`` leaves out."""
    items.sort(key=lambda item: (*(not item.path.stem.startswith(file) for file in _FIRST),))
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if item.path.stem in _SLOW_FILES or fixtures & _SLOW_FIXTURES:
            item.add_marker(pytest.mark.slow)


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """How two files differ, in a line: pytest itself may take a quarter of an hour to say."""
    if not (op == "==" and isinstance(left, bytes) and isinstance(right, bytes)):
        return None
    return [f"{len(left)} and {len(right)} bytes differ"]


class _SystemApart(LoadScopeScheduling):
    """Each file's tests go to one process; those of the demo's folder all to the same."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", maxsplit=1)[0]
        return "system" if Path(file).name.startswith(_OF_THE_SYSTEM) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    config.option.loadscopereorder = False
    return _SystemApart(config, log)


def pytest_configure(config: pytest.Config) -> None:
    # Two test processes on two cores: threads of one that wait for their turn only burn it.
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ["OMP_NUM_THREADS"] = "1"
        torch.set_num_threads(1)


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


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> System:
    """The demo's folder; of an earlier run, where KEPT_SYSTEM names it (while writing a test)."""
    if kept := os.environ.get("KEPT_SYSTEM"):
        folder = Path(kept)
        return System(folder, folder / "prefect", (folder / "demo.log").read_text(), 0)
    folder = tmp_path_factory.mktemp("system")
    (home := folder / "prefect").mkdir()  # with nothing in it, as a new user's
    done = siamese("demo", home=home, cwd=folder, timeout=1500, program=SIAMESE)
    return System(folder, home, done.stdout, done.returncode)


@pytest.fixture(scope="session")
def prefect_server(system: System) -> Iterator[str]:
    with prefect_serving(system.home, system.cwd) as url:
        yield url


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", "--no-first-run"]
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield made
        made.close()


@pytest.fixture
def watched(browser: Browser) -> Iterator[tuple[Page, list[str]]]:
    """A page, with every console error and every request that leaves the file."""
    page = browser.new_page()
    seen: list[str] = []
    page.on("console", lambda m: seen.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: seen.append(str(error)))
    page.on(
        "request",
        lambda r: None if r.url.startswith(("file:", "data:")) else seen.append(r.url),
    )
    yield page, seen
    page.close()
