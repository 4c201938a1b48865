"""The report and the registry, in a real browser."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from programs import SIAMESE, System, environment, free_port, serving

from siamese.tables import CLAIM_DECISIONS


def test_markup_in_a_manifest_is_shown_not_run(
    system: System, watched: tuple[Page, list[str]], prefect_server: str, tmp_path: Path
) -> None:
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    root = system.output_of("example_claims") / "claims"
    for name in ("C-0001_questioned.png", "C-0001_reference_1.png"):
        shutil.copy(root / name, tmp_path / name)
    (tmp_path / "claims.csv").write_text(
        f"claim_id,questioned,reference,{hostile}\n"
        f"{hostile},C-0001_questioned.png,C-0001_reference_1.png,{hostile}</script>\n"
    )
    done = system.run("score", tmp_path, PREFECT_API_URL=prefect_server)
    page, seen = watched
    page.on("dialog", lambda dialog: seen.append(dialog.message))
    page.goto(Path(re.findall(r"Report: +(\S+)", done.stdout)[0]).as_uri())
    assert page.locator("#body td.id").inner_text() == hostile
    assert page.locator("#body img").count() == 2
    assert seen == []


def test_report_opens_offline_filters_and_sorts(
    system: System, watched: tuple[Page, list[str]]
) -> None:
    page, seen = watched
    path = system.shown("Report")
    decisions = CLAIM_DECISIONS.read(system.shown("Decisions").with_suffix(".parquet"))
    page.goto(path.as_uri())
    rows = page.locator("#body tr")
    assert rows.count() == 50
    assert (
        page.locator("#shown").inner_text()
        == f"{len(decisions)} of {len(decisions)} claims, page 1 of 2"
    )
    page.get_by_role("button", name="Next").click()
    assert rows.count() == len(decisions) - 50
    for decision in ("accept", "review", "reject", "unusable"):
        page.get_by_label("Decision").select_option(decision)
        assert rows.count() == (decisions["decision"] == decision).sum()
    page.get_by_label("Decision").select_option("")
    page.get_by_label("Reason").select_option("pasted")
    assert rows.count() == 1
    page.get_by_label("Reason").select_option("")
    page.get_by_role("button", name="Distance").click()
    page.get_by_role("button", name="Distance").click()
    first = float(rows.first.locator("td.number").nth(2).inner_text())
    assert first == pytest.approx(decisions["distance"].max(), abs=0.001)
    page.get_by_label("Search").fill("C-0007")
    assert rows.count() == 1
    widths = page.locator("#body img").evaluate_all("all => all.map(i => i.naturalWidth)")
    assert len(widths) == 2
    assert min(widths) > 20
    assert page.locator("figure svg").count() == 2
    assert seen == []


def test_registry_shows_in_the_mlflow_ui(system: System, browser: Browser) -> None:
    port = free_port()
    env = environment(system.home)
    with serving(
        [SIAMESE, "ui", "--port", str(port)],
        f"http://127.0.0.1:{port}/health",
        system.cwd / "ui.log",
        system.cwd,
        env,
    ):
        links = re.findall(r"http://127\.0\.0\.1:\S+", (system.cwd / "ui.log").read_text())
        page = browser.new_page()
        page.goto(next(link for link in links if "/models/" in link))
        page.get_by_text("champion").first.wait_for(timeout=60_000)
        page.goto(next(link for link in links if "/experiments/" in link))
        page.get_by_text(re.compile("train-[0-9a-f]{8}")).first.wait_for(timeout=60_000)
        page.close()
