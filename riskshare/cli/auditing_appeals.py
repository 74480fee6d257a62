"""The work of `audit appeals`: of upheld appeals, which of our own hits they concern, and so whom to notify."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from riskshare.audit.sealed_scan import HITS
from riskshare.cli.acting import Own, opened
from riskshare.cli.auditing_own import log_own_request
from riskshare.cli.auditing_scan import Scan
from riskshare.cli.periods import read_period
from riskshare.cli.screen import Screen, counted, minute
from riskshare.encoding import canonical_json, format_time
from riskshare.errors import GroupError
from riskshare.membership import oprf
from riskshare.membership.identifier import mask
from riskshare.membership.record import label
from riskshare.names import list_owner, split_list_name
from riskshare.peer.appeals import AppealsSeen
from riskshare.query.check_record import CheckRecord, RecordedHit
from riskshare.query.message import ELEMENT_BYTES
from riskshare.query.verdict import Asked
from riskshare.sharing.upheld import REASON, Place

NOTE: Final = (
    "Upheld appeals are known from the lists as this member's peer followed them: while it did not run for an hour or"
    " longer, an owner may have published a new base that tells of none, and a hit under an epoch that had ended by"
    " then is not matched."
)


REASON_LOGGED: Final = "Appeals were upheld: which of our own hits they concern."


@dataclass(frozen=True, slots=True)
class Concerned:
    """A hit of ours on an entry whose appeal was upheld: `seen` is when this member learned of that."""

    record: CheckRecord
    hit: RecordedHit
    seen: datetime | None

    def body(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "check": str(self.record.check),
            "answered_at": format_time(self.record.answered_at),
            "purpose": self.record.purpose,
            "reference": self.record.reference,
            "identifier": mask(self.record.identifiers[self.hit.identifier]),
            "list": self.hit.list,
            "case": self.hit.record.case,
            "appeal_seen_at": None if self.seen is None else format_time(self.seen),
        }


def appeals(config_file: Path, since: str, *, json: bool) -> int:
    """Show the hits that upheld appeals concern; gives the exit code: 3 if some checks could not be opened.

    Raises:
        InputError: the time is none.
        StoreError: the request could not be logged, so nothing is opened; or the records cannot be read.
        OpenError: they cannot be opened.

    """
    opened_at, closed_at = read_period(since or "1970-01-01", "8999-12-31")
    return asyncio.run(_appeals(config_file, (opened_at, closed_at), Screen(as_json=json)))


async def _appeals(config_file: Path, period: tuple[datetime, datetime], screen: Screen) -> int:
    async with opened(config_file, screen) as own:
        await AppealsSeen(own.member.mirror, own.store.appeals).gather()
        upheld = await own.store.appeals.upheld(period[0])
        logged = await log_own_request(own, _about(upheld), REASON_LOGGED, action="appeals")
        lists = {name for name, _, _ in upheld}
        hits: list[tuple[CheckRecord, RecordedHit]] = []

        def take(record: CheckRecord) -> None:
            # Whether a label was withdrawn is asked of the database later, so only what may matter is remembered.
            hits.extend((record, hit) for hit in record.hits if hit.list in lists or _is_own(own, hit))

        done = await Scan(own, HITS, read_period("1970-01-01", "8999-12-31")).run(take, screen)
        concerned = [found for record, hit in hits if (found := await _match(own, upheld, record, hit)) is not None]
    concerned.sort(key=lambda one: one.record.answered_at)
    screen.result(
        {
            "notify": [one.body() for one in concerned],
            "checks": done.checks,
            "closed": done.closed,
            "appeals": len(upheld),
            "logged": {
                "request": str(logged.request.access),
                "subject": logged.subject.hex(),
                "nonce": logged.nonce.hex(),
            },
            "limits": [NOTE],
        }
    )
    _tell(screen, concerned)
    screen.note(f"Logged before it was looked for, as request {logged.request.access}.", "dim")
    return 3 if done.closed else 0


def _about(upheld: dict[Place, datetime]) -> bytes:
    """What the request commits to: the labels that were withdrawn, none of which says whom it is of."""
    places = sorted((name, epoch.hex(), found.hex()) for name, epoch, found in upheld)
    return canonical_json({"appeals": [list(place) for place in places]})


def _tell(screen: Screen, concerned: list[Concerned]) -> None:
    screen.say(f"{counted(len(concerned), 'hit')} of ours concern entries whose appeal was upheld.", "bold")
    if concerned:
        rows = [
            (
                str(one.record.check),
                one.record.reference or "-",
                minute(one.record.answered_at),
                one.record.purpose,
                one.hit.list,
                mask(one.record.identifiers[one.hit.identifier]),
            )
            for one in concerned
        ]
        screen.table(("check", "reference", "when", "purpose", "list", "identifier"), rows)
        screen.say("Notify your own people who acted on them. Nothing of this has left this member.")
    screen.note(NOTE)


def _is_own(own: Own, hit: RecordedHit) -> bool:
    return list_owner(hit.list) == own.member.name


async def _match(own: Own, upheld: dict[Place, datetime], record: CheckRecord, hit: RecordedHit) -> Concerned | None:
    """Whether an appeal concerns a hit: by the entry itself on a list of ours, else by the label under each epoch."""
    if _is_own(own, hit):
        handle = own.member.data_key.handle(record.identifiers[hit.identifier].oprf_input, hit.list)
        local = split_list_name(hit.list)[1]
        row = await own.store.lists.list_named(local)
        entries = await own.store.lists.entries_of([handle])
        withdrawn = [
            entry for place, entry in entries if row is not None and place == row.id and entry.reason == REASON
        ]
        return Concerned(record, hit, None) if withdrawn else None
    for part in record.asked:
        if part.owner == list_owner(hit.list) and part.identifier == hit.identifier and part.batch is not None:
            token = await _token(own, record, part)
            seen = None if token is None else upheld.get((hit.list, part.epoch, label(token, hit.list)))
            if seen is not None:
                return Concerned(record, hit, seen)
    return None


async def _token(own: Own, record: CheckRecord, part: Asked) -> bytes | None:
    """The token of an identifier, from the blind that was sealed and the evaluated element that was kept."""
    if part.batch is None:
        return None
    kept = await own.store.records.receipt_of_batch("querier", part.owner, part.batch)
    if kept is None or not 0 <= part.position < kept.count:
        return None
    evaluated = kept.evaluated[part.position * ELEMENT_BYTES :][:ELEMENT_BYTES]
    try:
        return oprf.finalize(record.identifiers[part.identifier].oprf_input, oprf.invert(part.blind), evaluated)
    except GroupError:
        return None
