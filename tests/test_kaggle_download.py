"""The Kaggle download, against a stand-in for Kaggle's server on this machine."""

from __future__ import annotations

import http.server
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from kagglesdk import kaggle_env
from PIL import Image

from siamese.config import SourceSettings
from siamese.sources import SourceError, SourceUnreachable, fetch_and_read


def archive() -> bytes:
    """A small dataset in Kaggle's layout; noise, so that it does not compress away."""
    picture = io.BytesIO()
    Image.effect_noise((900, 600), 80).save(picture, "PNG")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as bundle:
        for writer in ("001", "002"):
            for number in range(3):
                bundle.writestr(f"sign_data/train/{writer}/{number}.png", picture.getvalue())
                bundle.writestr(f"sign_data/train/{writer}_forg/{number}.png", picture.getvalue())
    return out.getvalue()


class StandIn(http.server.BaseHTTPRequestHandler):
    """Answers what kagglehub asks; breaks off downloads when told to."""

    data = archive()
    refuse = False
    break_after: int | None = None
    ranges: list[str]
    address = ""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if type(self).refuse:
            self._json(403, {"code": 403, "message": "Permission denied"})
        elif self.path.endswith("GetDataset"):
            self._json(200, {"currentVersionNumber": 1, "ref": json.loads(body)["datasetSlug"]})
        else:
            self.send_response(302)
            self.send_header("Location", f"{self.address}/file.zip")
            self.end_headers()

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if asked:
            type(self).ranges.append(asked)
        part = self.data[start:]
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        limit = type(self).break_after
        type(self).break_after = None
        self.wfile.write(part[:limit] if limit else part)

    def _json(self, code: int, value: object) -> None:
        text = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


def point_kagglehub_at(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """kagglehub's own switch for a server on this machine, on a port that needs no root."""
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, address)


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[StandIn]]:
    monkeypatch.setenv("KAGGLE_USERNAME", "somebody")
    monkeypatch.setenv("KAGGLE_KEY", "secret")
    StandIn.refuse, StandIn.break_after, StandIn.ranges = False, None, []
    server = http.server.ThreadingHTTPServer(("localhost", 0), StandIn)
    StandIn.address = f"http://localhost:{server.server_port}"
    point_kagglehub_at(StandIn.address, monkeypatch)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield StandIn
    server.shutdown()
    server.server_close()


SOURCE = SourceSettings(kind="kaggle")


def test_download_is_read_and_recorded(kaggle: type[StandIn], tmp_path: Path) -> None:
    found = fetch_and_read(SOURCE, tmp_path, seed=1)
    assert len(found.images) == 12
    record = json.loads((tmp_path / "kaggle" / "download.json").read_text())
    assert record["files"] == 12
    assert len(record["checksum"]) == 16
    assert "secret" not in json.dumps(record)


def test_broken_download_says_so_and_resumes(kaggle: type[StandIn], tmp_path: Path) -> None:
    kaggle.break_after = 2_500_000
    with pytest.raises(SourceUnreachable, match="run it again, it resumes"):
        fetch_and_read(SOURCE, tmp_path, seed=1)
    assert len(fetch_and_read(SOURCE, tmp_path, seed=1).images) == 12
    assert len(kaggle.ranges) == 1
    assert kaggle.ranges[0].startswith("bytes=")
    assert kaggle.ranges[0] != "bytes=0-"


def test_no_access_is_said(kaggle: type[StandIn], tmp_path: Path) -> None:
    kaggle.refuse = True
    with pytest.raises(SourceError, match=r"refused access.*KAGGLE_USERNAME.*--path"):
        fetch_and_read(SOURCE, tmp_path, seed=1)


def test_no_network_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    point_kagglehub_at("http://localhost:9", monkeypatch)  # where nothing listens
    with pytest.raises(SourceUnreachable, match="could not be reached"):
        fetch_and_read(SOURCE, tmp_path, seed=1)
