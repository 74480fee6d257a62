"""Importing into a member's own lists: the same for the command and for the client API."""

from __future__ import annotations

import secrets

from riskshare.peer.opening import Member, new_id, now
from riskshare.sharing.importing import Importer
from riskshare.sharing.prepare import RowForm
from riskshare.sharing.preparers import Preparers
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
