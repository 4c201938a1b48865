"""Settings: where they come from, and what a bad one is answered with."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import siamese
from flows.console import read_settings
from siamese.config import Settings, SourceSettings
from siamese.loading import ConfigError, load_settings, parse_assignment
from tasks.tracking import tracking_uri

DEFAULTS = Path(siamese.__file__).parent / "default.toml"


def test_the_documented_defaults_are_the_defaults() -> None:
    assert load_settings(DEFAULTS) == load_settings()


def test_every_field_is_documented() -> None:
    text = DEFAULTS.read_text()
    written = tomllib.loads(text.replace("# path = ", "path = "))
    for name, field in Settings.model_fields.items():
        assert name in written
        section = field.default[0] if name == "sources" else field.default
        for inner in getattr(type(section), "model_fields", {}):
            there = written[name][0] if name == "sources" else written[name]
            assert inner in there, f"{name}.{inner}"


def test_flags_beat_environment_beats_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "siamese.toml"
    config.write_text("seed = 1\n[training]\nsteps = 10\nwriters_per_batch = 4\n")
    monkeypatch.setenv("SIAMESE_TRAINING__STEPS", "20")
    monkeypatch.setenv("SIAMESE_SEED", "2")
    found = load_settings(config, {"seed": 3})
    assert (found.seed, found.training.steps, found.training.writers_per_batch) == (3, 20, 4)
    given = {"training.steps": 1, "training.evaluate_every": 7}
    flags = ["training.evaluate_every=8", "tracking.uri=sqlite:///own.db"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere:5000")
    found = read_settings(config, flags, None, given=given)
    assert (found.training.steps, found.training.evaluate_every) == (1, 8)
    assert tracking_uri(found) == "sqlite:///own.db"
    monkeypatch.chdir(tmp_path)
    assert load_settings().training.writers_per_batch == 4


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"training.stepz": 3}, "training.stepz: there is no such setting"),
        ({"trainning.steps": 3}, "trainning: there is no such setting"),
        ({"training.steps": 0}, "training.steps: .*greater than or equal to 1.*got 0"),
        ({"training.steps": "many"}, "training.steps: .*integer.*got 'many'"),
        ({"training.device": "tpu"}, "training.device: .*'auto', 'cpu' or 'cuda'.*got 'tpu'"),
        ({"training.margin_genuine": 1.5}, "training: margin_forgery must be greater"),
        ({"network.widths": [1]}, "network.widths: takes 2 to 6 stages"),
        ({"split.test": 0.85}, "split: calibration . test must leave"),
        ({"sources": [{"kind": "cedar"}]}, "sources.0: a cedar source needs a path"),
        ({"sources": [{"path": "mine"}]}, "sources.0: a synthetic source takes no path"),
        ({"schedule.cron": "99 2 * * *"}, "schedule.cron: .*99 is not between 0 and 59"),
        ({"retention.unused_days": 10**6}, "retention.unused_days: .*less than or equal"),
        ({"scoring.cluster": "nonsense"}, "scoring.cluster: .*got 'nonsense'"),
        ({"sources": [{"kind": "oracle"}]}, "sources.0.kind: .*'synthetic'.*got 'oracle'"),
        ({"sources": [{}, {}]}, "sources: two sources have the same name"),
        ({"schedule.timezone": "Mars/X"}, "schedule.timezone: there is no such time zone"),
        ({"schedule.cron": "daily"}, "schedule.cron: .*got 'daily'"),
        ({"policy.max_frr": 1.0}, "policy.max_frr: .*less than 1"),
    ],
)
def test_bad_values_name_their_field(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_settings(None, overrides)


def test_bad_files_and_variables_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_settings(tmp_path / "gone.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("seed = = 1")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_settings(broken)
    broken.write_bytes(b"seed = '\xff'")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_settings(broken)
    monkeypatch.setenv("SIAMESE_SOURCES", "kaggle")
    with pytest.raises(ConfigError, match="not JSON"):
        load_settings()
    monkeypatch.setenv("SIAMESE_SOURCES", '[{"kind": "kaggle"}]')
    assert load_settings().sources[0].kind == "kaggle"
    monkeypatch.delenv("SIAMESE_SOURCES")
    monkeypatch.setenv("SIAMESE_SEEED", "1")
    with pytest.raises(ConfigError, match="SIAMESE_SEEED names no setting"):
        load_settings()
    monkeypatch.delenv("SIAMESE_SEEED")
    monkeypatch.setenv("SIAMESE_PICTURES", "/claims")  # what a served model goes by
    load_settings()
    monkeypatch.setenv("SIAMESE_TRAINING__STEPZ", "1")
    with pytest.raises(ConfigError, match=r"training\.stepz"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b=1", ("a.b", 1)),
        ("a=[1, 2]", ("a", [1, 2])),
        ("a=true", ("a", True)),
        ("a=x=y", ("a", "x=y")),
        ("a=", ("a", "")),
    ],
)
def test_assignments(text: str, expected: tuple[str, Any]) -> None:
    assert parse_assignment(text) == expected


@pytest.mark.parametrize("text", ["a", "=1", ""])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="FIELD=VALUE"):
        parse_assignment(text)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_settings().seed = 5  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        SourceSettings().kind = "kaggle"  # type: ignore[misc]
