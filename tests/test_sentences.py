"""What people are told of failures that were foreseen, and of a machine that lacks something."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import pytest
import typer

from flows.console import read_settings, sentences
from flows.doctor import examine
from flows.server import ServerFailed, running_server
from siamese.config import Settings
from siamese.errors import InputError, RunError


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (InputError("Not this."), 2, "Not this."),
        (RunError("Not now."), 1, "Not now."),
        (NotADirectoryError(20, "Not a directory", "data"), 1, "Not a directory: 'data'."),
        (OSError("AWS Error ACCESS_DENIED"), 1, "AWS Error ACCESS_DENIED."),
        (TimeoutError("Timed out during handshake"), 1, "Timed out during handshake."),
        (
            ModuleNotFoundError("No module named 'psycopg2'", name="psycopg2"),
            1,
            "siamese-signatures[servers]",
        ),
        (RuntimeError("Failed to reach API at http://x/api/"), 1, "PREFECT_API_URL"),
    ],
)
def test_foreseen_failures_end_with_a_sentence_and_a_code(
    error: Exception, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as ended, sentences():
        raise error
    assert ended.value.exit_code == code
    assert told in capsys.readouterr().err


def test_a_defect_keeps_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="a bug"), sentences():
        raise RuntimeError("a bug")


def test_only_what_was_not_foreseen_is_logged_with_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with sentences():
        pass
    seen: list[logging.LogRecord] = []
    handler, log = logging.Handler(), logging.getLogger("prefect.task_runs")
    monkeypatch.setattr(handler, "emit", seen.append)
    log.addHandler(handler)
    for error in (InputError("Not this."), ValueError("a bug")):
        try:
            raise error
        except ValueError:
            log.exception("It failed: %s", error)
    log.removeHandler(handler)
    assert [record.exc_info is None for record in seen] == [True, False]


def test_sources_of_one_kind_get_names_of_their_own(tmp_path: Path) -> None:
    kinds, paths = ["manifest", "cedar", "manifest"], [tmp_path / name for name in "abc"]
    found = read_settings(None, None, None, kinds, paths).sources
    assert [source.label for source in found] == ["manifest", "cedar", "manifest2"]


def test_a_port_that_is_taken_is_not_taken_for_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ServerFailed, match=f"Port {port} cannot be had"), running_server(port):
            pass


def test_the_doctor_sees_a_data_folder_that_cannot_be_one(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    told = {one.name: one for one in examine(Settings(data_dir=tmp_path / "data"))}
    assert told["disk"].level == "fault"
    assert "cannot be written to" in told["disk"].told
