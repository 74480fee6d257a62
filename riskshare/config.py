"""The configuration of a peer: one frozen value, read once.

A file `riskshare.toml` holds it; the environment overrides single keys, `RISKSHARE_<SECTION>__<KEY>` with
`__` for every dot (`RISKSHARE_STORE__DSN`, `RISKSHARE_LISTEN__PEERS__PORT`). An unknown key, a wrong type or
a value out of range is refused with its name. Relative paths count from the file's folder.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, SettingsError

from riskshare.config_sections import (
    DIRECTORY,
    ApiKeySection,
    AuditSection,
    CheckSection,
    EpochSection,
    KeysSection,
    ListenSection,
    LogSection,
    MemberSection,
    PathsSection,
    PublishSection,
    Section,
    StoreSection,
    SubscribeSection,
)
from riskshare.errors import ConfigError

FILE_NAME = "riskshare.toml"
PREFIX = "RISKSHARE_"
MAX_FILE = 4 * 1024 * 1024
_SHOWN = 10


class Config(Section):
    """The configuration of one peer. Made by `Config.load`, or in code with all values given."""

    member: MemberSection
    paths: PathsSection = Field(default_factory=PathsSection)
    keys: KeysSection = Field(default_factory=KeysSection)
    listen: ListenSection = Field(default_factory=ListenSection)
    store: StoreSection = Field(default_factory=StoreSection)
    check: CheckSection = Field(default_factory=CheckSection)
    subscribe: SubscribeSection = Field(default_factory=SubscribeSection)
    publish: PublishSection = Field(default_factory=PublishSection)
    epoch: EpochSection = Field(default_factory=EpochSection)
    audit: AuditSection = Field(default_factory=AuditSection)
    log: LogSection = Field(default_factory=LogSection)
    api_keys: tuple[ApiKeySection, ...] = Field((), max_length=1_000)

    @field_validator("api_keys")
    @classmethod
    def _check_ids(cls, value: tuple[ApiKeySection, ...]) -> tuple[ApiKeySection, ...]:
        if len({key.id for key in value}) < len(value):
            raise ValueError("two API keys have one id.")
        return value

    @classmethod
    def load(cls, path: Path) -> Config:
        """Read a configuration file and the environment over it.

        Raises:
            ConfigError: not readable, not TOML, an unknown key, a wrong type or value; names each.

        """
        written = _read_toml(path)
        _check_types(path, written)
        return cls._read(path, overlaid(written, _read_environment()))

    @classmethod
    def from_values(cls, values: dict[str, Any], directory: Path) -> Config:
        """A configuration of `values` and defaults, with relative paths counted from `directory`; no environment.

        Raises:
            ConfigError: as `load`.

        """
        return cls._read(directory / FILE_NAME, values)

    @classmethod
    def _read(cls, path: Path, values: dict[str, Any]) -> Config:
        # An absent section is read as an empty one, so that the default paths in it count from the folder too.
        values = {name: {} for name in cls.model_fields if name not in ("member", "api_keys")} | values
        try:
            return cls.model_validate(values, context={DIRECTORY: path.absolute().parent})
        except ValidationError as error:
            raise _refusal(path, _details(error)) from error

    @property
    def server_dir(self) -> Path:
        """Folder of the own PostgreSQL."""
        return self.store.server_dir or self.paths.data_dir / "postgres"

    @property
    def database(self) -> str:
        """Database on the own PostgreSQL: the one configured, else one named after the member."""
        return self.store.database or "member_" + self.member.name.replace("-", "_")[:56]

    @property
    def registry_digest(self) -> bytes:
        """The pinned digest, 32 bytes, or b"" if none is set yet."""
        return bytes.fromhex(self.member.network_sha256)


class _Environment(Config, BaseSettings):
    """The same keys, for the reader of the environment; never instantiated."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__")


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise ConfigError(f"{path} is longer than {MAX_FILE} bytes.")
        return tomllib.loads(data.decode("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}. Make one with riskshare init.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error


def _check_types(path: Path, written: dict[str, Any]) -> None:
    """Refuse a value of another TOML type than its key's: "150" for 150, 1 for true.

    The environment knows only text, so the values together are read leniently; the file
    is looked at alone and strictly. What is missing from it may stand in the environment.
    """
    try:
        Config.model_validate_json(json.dumps(written, default=_plain), strict=True)
    except ValidationError as error:
        found = [item for item in _details(error) if _is_form(item["type"]) and _is_written(written, item["loc"])]
        if found:
            raise _refusal(path, found) from error


def _is_form(kind: str) -> bool:
    return kind.endswith("_type") or kind == "extra_forbidden"


def _is_written(written: Any, loc: tuple[int | str, ...]) -> bool:
    """Tell whether a key stands in the file; strict reading stumbles over defaults (of type Path) as well."""
    for part in loc:
        if not isinstance(written, dict):
            break
        if part not in written:
            return False
        written = written[part]
    return True


def _plain(value: object) -> str:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    raise TypeError(type(value).__name__)


def _read_environment() -> dict[str, Any]:
    for name in os.environ:
        section, nested, _ = name.upper().removeprefix(PREFIX).partition("__")
        if name.upper().startswith(PREFIX) and nested and section.lower() not in Config.model_fields:
            hint = _suggestion(section.lower(), Config)
            raise ConfigError(f"The environment's {name} names a section that does not exist.{hint}")
    try:
        values: dict[str, Any] = EnvSettingsSource(_Environment)()
    except SettingsError as error:
        raise ConfigError(f"The environment is not usable: {error}; lists are written in JSON.") from error
    return values


def overlaid(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """The values of `below` with those of `above` over them, section by section."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = overlaid(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def _details(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_url=False, include_context=False, include_input=False)


def _refusal(path: Path, found: list[ErrorDetails]) -> ConfigError:
    lines = [_sentence(item) for item in found[:_SHOWN]]
    if len(found) > _SHOWN:
        lines.append(f"and {len(found) - _SHOWN} more")
    return ConfigError(f"{path}: " + "; ".join(lines))


def _sentence(item: ErrorDetails) -> str:
    """One defect with its key, and what to do; never the value."""
    where = ""
    for part in item["loc"]:
        where += f"[{part}]" if isinstance(part, int) else f".{part}"
    where = where.lstrip(".") or "the file"
    match item["type"]:
        case "extra_forbidden":
            return f"unknown key {where}.{_suggestion(str(item['loc'][-1]), _section_at(item['loc'][:-1]))}".rstrip(".")
        case "missing":
            return f"{where} is missing"
        case "model_type":
            return f"{where} is a section, written [{where}], not a value"
        case _:
            sentence = item["msg"].removeprefix("Value error, ").rstrip(".")
            return f"{where}: {sentence[:1].lower()}{sentence[1:]}"


def _section_at(loc: tuple[int | str, ...]) -> type[BaseModel]:
    section: type[BaseModel] = Config
    for part in loc:
        if isinstance(part, str):
            annotation = section.model_fields[part].annotation
            section = (
                annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else ApiKeySection
            )
    return section


def _suggestion(key: str, section: type[BaseModel]) -> str:
    close = difflib.get_close_matches(key, section.model_fields, n=1, cutoff=0.6)
    if close:
        return f" Did you mean {close[0]}?"
    return f" Known here: {', '.join(section.model_fields)}."
