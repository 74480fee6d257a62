"""What this member knows of an identifier on its own lists: why it stands there, what was done, who has it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from riskshare.api_entries import EntryModel, EventModel, HolderModel
from riskshare.membership.identifier import Identifier, mask
from riskshare.membership.record import Record
from riskshare.sharing.entry import DataKey
from riskshare.sharing.kept import ListRow, NotedChange, ReaderRow, StoredEntry
from riskshare.sharing.states import PATIENT
from riskshare.store.store import Store


async def shown(
    store: Store,
    data_key: DataKey,
    member: str,
    identifier: Identifier,
    *,
    lists: Sequence[ListRow],
    now: datetime,
) -> list[EntryModel]:
    """The entries of an identifier on some lists, found by keyed hashes. Raises StoreError."""
    handles = [data_key.handle(identifier.oprf_input, f"{member}/{of.name}") for of in lists]
    entries = dict(await store.lists.entries_of(handles))
    former = await store.history.versions(handles)
    found = []
    for of in lists:
        entry = entries.get(of.id)
        if entry is None:
            continue
        versions = [*(one.entry for one in former if one.list_id == of.id), entry]
        changes = await store.history.changes(of.id, [one.changed for one in versions])
        readers = await store.history.readers(of.id, now)
        found.append(_entry(f"{member}/{of.name}", identifier, versions, changes, readers))
    return found


def _entry(
    name: str,
    identifier: Identifier,
    versions: Sequence[StoredEntry],
    changes: Sequence[NotedChange],
    readers: Sequence[ReaderRow],
) -> EntryModel:
    noted = {change.number: change for change in changes}
    entry = versions[-1]
    record = Record.from_bytes(entry.record)
    ahead = entry.state == "withdrawn" and entry.reason not in PATIENT
    return EntryModel(
        list=name,
        category=record.category,
        identifier=mask(identifier),
        state=entry.state,
        withdrawn_for=entry.reason,
        level=record.level,
        reason=record.reason,
        evidence=record.evidence,
        case=record.case,
        appeal=record.appeal,
        listed_at=record.listed_at,
        valid_until=entry.valid_until,
        history=tuple(_event(one, noted.get(one.changed)) for one in versions),
        holders=tuple(
            HolderModel(
                member=one.reader,
                epoch=one.epoch,
                version=one.version,
                confirmed_at=one.at,
                current=(one.withdrawn if ahead else one.changed) >= entry.changed,
            )
            for one in readers
        ),
    )


def _event(entry: StoredEntry, change: NotedChange | None) -> EventModel:
    record = Record.from_bytes(entry.record)
    return EventModel(
        number=entry.changed,
        at=change.at if change else None,
        author=change.author if change else None,
        action=change.action if change else None,
        why=change.reason if change else None,
        import_id=str(change.import_id) if change and change.import_id else None,
        state=entry.state,
        withdrawn_for=entry.reason,
        level=record.level,
        reason=record.reason,
        valid_until=entry.valid_until,
    )
