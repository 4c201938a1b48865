"""Settings from a file, the environment and flags, with a sentence for what is wrong in them.

Later wins: the defaults of :mod:`siamese.config`, ``siamese.toml`` (or ``--config FILE``),
environment variables (``SIAMESE_TRAINING__STEPS=200``), flags (``--set training.steps=200``).
"""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from siamese.addresses import without_password
from siamese.config import Settings
from siamese.errors import InputError

ENVIRONMENT_PREFIX = "SIAMESE_"
#: Names the folder that a served model may read pictures from; no setting of the pipeline.
PICTURES = "SIAMESE_PICTURES"


class ConfigError(InputError):
    """A setting that cannot be used; the message names the field, what it got and what it takes."""


def load_settings(
    config: Path | None = None,
    overrides: dict[str, Any] | None = None,
) -> Settings:
    """Read the settings.

    Parameters
    ----------
    config : a TOML file; none: ``siamese.toml`` in the current folder, if it is there.
    overrides : dotted field names to values, as in ``{"training.steps": 200}``.

    Raises
    ------
    ConfigError : naming each bad field.
    """
    if config is None and Path("siamese.toml").is_file():
        config = Path("siamese.toml")
    if config is not None and not config.is_file():
        raise ConfigError(f"The config file {config} does not exist.")
    _refuse_unknown_environment()

    class FromFile(BaseSettings, Settings):
        model_config = SettingsConfigDict(
            env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__", toml_file=config
        )

        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *args: Any, **kwargs: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            sources = super().settings_customise_sources(settings_cls, *args, **kwargs)
            return (*sources, TomlConfigSettingsSource(settings_cls))

    try:
        loaded = FromFile(**_nested(overrides or {}))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{config} is not valid TOML: {error}") from error
    except SettingsError as error:
        raise ConfigError(f"The environment holds a value that is not JSON: {error}.") from error
    except ValidationError as error:
        raise ConfigError(_sentences(error)) from error
    return Settings.model_construct(
        **{name: getattr(loaded, name) for name in Settings.model_fields}
    )


def parse_assignment(text: str) -> tuple[str, Any]:
    """Split a ``--set`` flag; the value is read as JSON where it is, else as a string.

    >>> parse_assignment("training.steps=200")
    ('training.steps', 200)
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ConfigError(f"--set takes FIELD=VALUE, as in training.steps=200, not {text!r}.")
    try:
        return name.strip(), json.loads(value)
    except json.JSONDecodeError:
        return name.strip(), value


def _nested(overrides: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for dotted, value in overrides.items():
        *parents, leaf = dotted.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ConfigError(f"{dotted}: {parent} is given as one value and by its fields.")
        node[leaf] = value
    return tree


def _refuse_unknown_environment() -> None:
    for variable in os.environ:
        if variable.startswith(ENVIRONMENT_PREFIX) and variable != PICTURES:
            field = variable.removeprefix(ENVIRONMENT_PREFIX).split("__")[0].lower()
            if field not in Settings.model_fields:
                raise ConfigError(
                    f"The environment variable {variable} names no setting; "
                    f"settings are {', '.join(Settings.model_fields)}."
                )


def _sentences(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(f"{name}: there is no such setting.")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{name}: {message[0].lower()}{message[1:]} (got {problem['input']!r}).")
    return without_password("\n".join(lines))
