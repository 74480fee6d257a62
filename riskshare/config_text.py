"""Writing `riskshare.toml`, with every key present and explained."""

from __future__ import annotations

import json
import textwrap
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, SecretStr

from riskshare.config import Config
from riskshare.config_sections import ApiKeySection

HEADER = """\
# Configuration of a riskshare peer. Every key is here, with its default unless init knew better.
# The environment overrides any of them: RISKSHARE_<SECTION>__<KEY>, for example
# RISKSHARE_STORE__DSN or RISKSHARE_LISTEN__PEERS__PORT. Relative paths count from this file's folder.
"""

_NO_API_KEYS = """\

# One [[api_keys]] for each client, with the keys id, sha256, scopes, expires, addresses.
"""


def render(config: Config, directory: Path) -> str:
    """The text of a configuration file that `load` reads back to `config`; paths below `directory` are relative."""
    parts = [HEADER]
    for name in Config.model_fields:
        if name != "api_keys":
            parts.extend(_render_section(name, getattr(config, name), directory))
    for number, key in enumerate(config.api_keys):
        parts.append(f"\n# {_summary(ApiKeySection)}\n[[api_keys]]\n")
        parts.extend(_render_keys(key, directory, explained=number == 0))
    if not config.api_keys:
        parts.append(_NO_API_KEYS)
    return "".join(parts)


def _summary(section: type[BaseModel]) -> str:
    return (section.__doc__ or "").partition("\n")[0]


def _render_section(name: str, section: BaseModel, directory: Path) -> list[str]:
    parts = [f"\n# {_summary(type(section))}\n[{name}]\n"]
    parts.extend(_render_keys(section, directory, explained=True))
    for key in type(section).model_fields:
        if isinstance(value := getattr(section, key), BaseModel):
            parts.extend(_render_section(f"{name}.{key}", value, directory))
    return parts


def _render_keys(section: BaseModel, directory: Path, *, explained: bool) -> list[str]:
    parts: list[str] = []
    for key, info in type(section).model_fields.items():
        value = getattr(section, key)
        if isinstance(value, BaseModel):
            continue
        if explained and info.description:
            parts.extend(f"# {line}\n" for line in textwrap.wrap(info.description, 110))
        parts.append(f"{key} = {_toml(value, directory)}\n")
    return parts


def _toml(value: object, directory: Path) -> str:
    """One value in TOML; JSON's text strings are TOML's basic strings but for the delete character."""
    match value:
        case None:
            return '""'
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case datetime():
            return value.isoformat()
        case tuple():
            return "[" + ", ".join(_toml(item, directory) for item in value) + "]"
        case Path():
            shown = value.relative_to(directory) if value.is_relative_to(directory) else value
            return _toml(shown.as_posix(), directory)
        case SecretStr():
            return _toml(value.get_secret_value(), directory)
        case _:
            return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
