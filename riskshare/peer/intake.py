"""Importing into a member's own lists: the same for the command and for the client API."""

from __future__ import annotations

import secrets

from riskshare.peer.opening import Member, new_id, now
from riskshare.sharing.importing import Importer
from riskshare.sharing.kept import ListRow
from riskshare.sharing.prepare import RowForm
from riskshare.sharing.preparers import Preparers
from riskshare.sharing.rows import Defaults
from riskshare.sharing.staged import Called, given_mapping
from riskshare.store.copy_rows import head, tail
from riskshare.store.store import Store

ROW_FORM = RowForm(head, tail)


def importer_of(member: Member, store: Store) -> Importer:
    """What imports files into this member's lists, on all cores."""
    return Importer(
        member=member.name,
        data_key=member.data_key,
        imports=store.imports,
        prepare=Preparers(member.data_key, ROW_FORM),
        now=now,
        random=secrets.token_bytes,
        new_id=new_id,
    )


async def columns_of(store: Store, of: ListRow, asked: Defaults, author: str, *, saved: bool) -> Called:
    """How the columns of a file for this list are called: as asked; else, with `saved`, as in the last import."""
    given = given_mapping(asked, author)
    kept = await store.imports.mapping(of.id) if saved and given is None else None
    return Called(asked if kept is None else kept.over(asked), given, kept)
