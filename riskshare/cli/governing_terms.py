"""The work of `network terms`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from riskshare.cli.screen import Screen, counted, day
from riskshare.errors import InputError
from riskshare.governance import NETWORK_FILE
from riskshare.oversight import set_terms
from riskshare.peer.opening import now
from riskshare.registry.network import MOST_DAYS

_TERM: Final = re.compile(r"([a-z][a-z0-9_]{0,63})=(none|[1-9][0-9]{0,3})")


def change_terms(directory: Path, texts: Sequence[str], *, json: bool) -> None:
    """Sign the next version with other longest terms.

    Raises:
        InputError: a text is not CATEGORY=DAYS, or names a category twice.
        ConfigError, RegistryError, DiskError: as `oversight.set_terms`.

    """
    screen = Screen(as_json=json)
    registry = set_terms(directory, read_terms(texts), now=now())
    screen.result(
        {
            "version": registry.version,
            "digest": registry.digest.hex(),
            "network_file": str(directory / NETWORK_FILE),
            "terms": dict(registry.terms),
        }
    )
    screen.say(f"Registry version {registry.version} is signed, valid until {day(registry.expires_at)}.", "green")
    screen.pairs(
        [
            *((name, f"at most {counted(registry.most_days(name), 'day')}") for name in registry.categories),
            ("registry", str(directory / NETWORK_FILE)),
            ("digest", registry.digest.hex()),
        ]
    )


def read_terms(texts: Sequence[str]) -> Mapping[str, int | None]:
    """Read CATEGORY=DAYS; `none` gives None. Raises InputError `invalid_input`."""
    found: dict[str, int | None] = {}
    for text in texts:
        match = _TERM.fullmatch(text)
        days = None if match is None or match[2] == "none" else int(match[2])
        if match is None or match[1] in found or (days or 1) > MOST_DAYS:
            raise InputError(
                f"Write terms as CATEGORY=DAYS, with 1 to {MOST_DAYS} days or none, each category once:"
                " telecom_fraud=365."
            )
        found[match[1]] = days
    return found
