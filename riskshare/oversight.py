"""Verbs of governance beside membership: what an auditor may see, how long an entry may stand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from riskshare.errors import ConfigError
from riskshare.governance import current_registry, issue
from riskshare.registry import AuditRights, Registry
from riskshare.registry.network import TERM


def set_audit_rights(
    directory: Path,
    name: str,
    *,
    now: datetime,
    everybody: bool = False,
    members: Iterable[str] | None = None,
    open_per_day: int | None = None,
    read_days: int | None = None,
    term: timedelta = TERM,
    governor_keys: Sequence[Path] = (),
) -> Registry:
    """Issue the next registry version with other rights of an auditor.

    It may see `members` then, or all if `everybody`, have `open_per_day` checks a day opened at each of them, and read
    their logs of periods that begin at most `read_days` before (0: of any). What is None stays as it was, or as an
    auditor has it who is admitted.

    Raises:
        ConfigError: no such member, or one that is no auditor; else as `governance.admit`.

    """
    old = current_registry(directory)
    audited = None if members is None else tuple(sorted(set(members)))
    _check_names(old, (name, *(audited or ())))
    member = old.members[name]
    if not member.has_role("auditor"):
        raise ConfigError(
            f"{name} is no auditor. Who audits is a member of its own: riskshare init --roles auditor,querier under"
            " another name, then riskshare network admit with its join.json."
        )
    rights = member.audit or AuditRights()
    if everybody or audited is not None:
        rights = replace(rights, members=None if everybody else audited)
    if open_per_day is not None:
        rights = replace(rights, open_per_day=open_per_day)
    if read_days is not None:
        rights = replace(rights, read_days=read_days or None)
    return issue(directory, old, [replace(member, audit=rights)], now=now, term=term, governor_keys=governor_keys)


def set_terms(
    directory: Path,
    terms: Mapping[str, int | None],
    *,
    now: datetime,
    term: timedelta = TERM,
    governor_keys: Sequence[Path] = (),
) -> Registry:
    """Issue the next registry version with other longest terms of entries, in days by category; None takes one back.

    Raises:
        ConfigError: no such category; else as `governance.admit`.

    """
    old = current_registry(directory)
    unknown = sorted(terms.keys() - set(old.categories))
    if unknown:
        raise ConfigError(f"The network has no category {unknown[0][:63]!r}. It has: {', '.join(old.categories)}.")
    after = {name: days for name, days in (dict(old.terms) | dict(terms)).items() if days is not None}
    return issue(directory, old, [], now=now, term=term, governor_keys=governor_keys, terms=after)


def _check_names(registry: Registry, names: Iterable[str]) -> None:
    for name in names:
        if registry.member(name) is None:
            raise ConfigError(
                f"The registry has no member {name[:63]!r}. It has: {', '.join(registry.members) or 'none'}."
            )
