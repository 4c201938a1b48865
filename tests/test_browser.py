"""The report and the registry, in a real browser."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Literal

import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
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
    assert page.locator("#body .picture-cell img").count() == 2
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
    for name, least, most in (("high", -1, 0.1), ("middle", 0.1, 0.5), ("low", 0.5, 1)):
        page.get_by_label("Risk").select_option(name)
        expected = int(((decisions["p_genuine"] >= least) & (decisions["p_genuine"] < most)).sum())
        assert page.locator("#shown").inner_text().startswith(f"{expected} of ")
    page.get_by_label("Risk").select_option("")
    page.get_by_role("button", name="amount").click()
    amounts = [float(text) for text in rows.locator("td:last-child").all_inner_texts()]
    assert amounts == sorted(amounts)
    page.get_by_label("Search").fill("C-0007")
    assert rows.count() == 1
    widths = page.locator("#body .picture-cell img").evaluate_all(
        "all => all.map(i => i.naturalWidth)"
    )
    assert len(widths) == 2
    assert min(widths) > 20
    assert page.locator("figure svg").count() == 2
    assert seen == []


def test_reviewed_claims_show_where_signatures_differ(
    system: System, watched: tuple[Page, list[str]]
) -> None:
    page, seen = watched
    page.goto(system.shown("Report").as_uri())
    page.get_by_label("Decision").select_option("review")
    rows = page.locator("#body tr")
    pictures = page.locator("#body td.differ img")
    assert pictures.count() == 2 * rows.count() > 0
    pictures.last.scroll_into_view_if_needed()
    assert pictures.last.evaluate("one => one.decode().then(() => one.naturalWidth)") == 432
    page.get_by_label("Decision").select_option("accept")
    assert pictures.count() == 0
    assert seen == []


def test_verdicts_by_keyboard_and_mouse_are_exported_and_read_back(
    system: System, watched: tuple[Page, list[str]], prefect_server: str, tmp_path: Path
) -> None:
    page, seen = watched
    page.goto(system.shown("Report").as_uri())
    page.get_by_role("button", name="Claim").click()
    page.keyboard.press("j")
    page.keyboard.press("f")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("g")
    page.get_by_label("Your verdict on claim C-0005").select_option("forged")
    page.get_by_label("Your verdict on claim C-0006").select_option("forged")
    page.get_by_label("Your verdict on claim C-0006").select_option("")
    page.locator("#judged").select_option("given")
    names = page.locator("#body td.id").all_inner_texts()
    page.reload()  # what was said is still there
    page.get_by_label("Keys").uncheck()  # as who speaks to the browser may have to
    page.keyboard.press("j")
    page.keyboard.press("f")
    assert "(3)" in page.get_by_role("button", name="Export").inner_text()
    page.get_by_label("Keys").check()
    with page.expect_download() as started:
        page.keyboard.press("e")
    path = tmp_path / "verdicts.csv"
    started.value.save_as(path)
    table = pd.read_csv(path)
    assert table["claim_id"].tolist() == names == ["C-0001", "C-0003", "C-0005"]
    assert table["verdict"].tolist() == ["forged", "genuine", "forged"]
    claims = system.output_of("example_claims") / "claims"
    done = system.run(
        "feedback", claims, path, "--data-dir", tmp_path / "data", PREFECT_API_URL=prefect_server,
        MLFLOW_TRACKING_URI=f"sqlite:///{system.data}/mlflow/mlflow.db",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert "3 kept." in done.stdout
    labelled = pd.read_csv(tmp_path / "data" / "feedback" / "claims.csv")
    labels = labelled.groupby(labelled["claim_id"].str.split().str[1])["label"].first()
    assert labels.to_dict() == {"C-0001": "forged", "C-0003": "genuine", "C-0005": "forged"}
    assert seen == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_has_no_serious_fault_of_accessibility(
    system: System, watched: tuple[Page, list[str]], scheme: Literal["light", "dark"]
) -> None:
    page, _ = watched
    page.emulate_media(color_scheme=scheme)
    page.goto(system.shown("Report").as_uri())
    for decision in ("", "review", "unusable"):
        page.get_by_label("Decision").select_option(decision)
        found = Axe().run(page).response["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        assert not serious, [(one["id"], one["nodes"][0]["html"][:200]) for one in serious]


def test_two_windows_lose_no_verdict(system: System, browser: Browser) -> None:
    context = browser.new_context()
    page, other = context.new_page(), context.new_page()
    for one in (page, other):
        one.goto(system.shown("Report").as_uri())
        one.get_by_role("button", name="Claim").click()
    for one, claim, verdict in (
        (page, "C-0001", "forged"), (other, "C-0002", "genuine"), (page, "C-0003", "forged"),
    ):  # fmt: skip
        one.get_by_label(f"Your verdict on claim {claim}").select_option(verdict)
    for one in (page, other):
        expect(one.get_by_role("button", name="Export")).to_contain_text("(3)")
    page.reload()
    assert "(3)" in page.get_by_role("button", name="Export").inner_text()
    context.close()


def test_all_claims_are_printed(system: System, watched: tuple[Page, list[str]]) -> None:
    page, _ = watched
    page.goto(system.shown("Report").as_uri())
    page.set_viewport_size({"width": 1040, "height": 720})  # A4, landscape
    page.emulate_media(media="print")
    cut = "document.querySelector('.scroll').scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(cut) <= 0
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#body tr").count() == 66
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator("#body tr").count() == 50


_A_PICTURE_SHOWS = (
    "[...document.images].some(one => one.src.startsWith('blob:') && one.naturalWidth > 100)"
)


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
        models = next(link for link in links if "/models/" in link)
        page.goto(models)
        page.get_by_text("champion").first.wait_for(timeout=60_000)
        page.goto(f"{models}/versions/1")
        page.get_by_role("heading", name="The first version").wait_for(timeout=60_000)
        assert page.get_by_role("cell", name="skilled forgery", exact=True).count() == 1
        runs = next(link for link in links if "/experiments/" in link)
        page.goto(runs)
        page.get_by_text(re.compile("train-[0-9a-f]{8}")).first.wait_for(timeout=60_000)
        run_id = system.client().get_model_version("signature-verifier", "1").run_id
        run = f"{runs.removesuffix('/runs')}/runs/{run_id}"
        for name in ("det", "roc", "distances", "decisions", "hardest_pairs", "training"):
            page.goto(f"{run}/artifacts/figures/{name}.png")
            page.reload()  # only what stands after the # has changed
            page.get_by_text(f"figures/{name}.png").first.wait_for(timeout=60_000)
            page.wait_for_function(_A_PICTURE_SHOWS, timeout=60_000)
        page.goto(f"{run}/system-metrics")
        page.get_by_text("cpu_utilization_percentage").first.wait_for(timeout=60_000)
        page.close()
