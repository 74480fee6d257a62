"""Entries that a program brings one by one: each is judged by the rules of an import, and answered on its own.

All that can be listed are written in one change of the list, under its lock. A disputed entry stays as it is, and so
does one that an upheld appeal took off: these end by a decision, not by a program that repeats itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

from riskshare.sharing.entry import NONCE_BYTES, DataKey, content_of
from riskshare.sharing.kept import Change, EntryRow, ListRow
from riskshare.sharing.never import NeverList
from riskshare.sharing.rows import MAX_DAYS, OWN_COLUMNS, BadRow, Columns, Defaults, Row, Rules, usual_days
from riskshare.sharing.states import Effect

CELLS: Final = ("identifier", *OWN_COLUMNS)
"""What stands for an entry, in this order: `type:value`, and the entry's own fields or empty texts."""

_COLUMNS: Final = Columns({name: index for index, name in enumerate(CELLS)}, len(CELLS), {name: name for name in CELLS})
_STAYS: Final[Mapping[str, tuple[str, str]]] = {
    "unchanged": ("unchanged", "It stands there already with the same record."),
    "disputed": ("entry_disputed", "The entry is disputed, and stays as it is until somebody decides that."),
    "barred": ("entry_barred", "An appeal against this entry was upheld: only a decision with a reason restores it."),
}


@dataclass(frozen=True, slots=True)
class Upserted:
    """What became of one entry. `code` and `message` say why it is not, or is no other than before."""

    effect: Effect | None
    code: str | None = None
    message: str = ""

    @property
    def done(self) -> bool:
        """Whether the list now says what was asked for."""
        return self.code in (None, "unchanged")


class Lists(Protocol):
    """The store of lists and entries."""

    async def upsert(
        self,
        list_id: int,
        rows: Sequence[EntryRow],
        change: Change,
        *,
        never_upto: int,
        atomic: bool,
        reply: Callable[[Mapping[bytes, Effect]], Any] | None = None,
    ) -> Mapping[bytes, Effect]:
        """Write rows of different handles in one transaction; what becomes of each, by handle.

        With `atomic` nothing is written if one of them is disputed or barred. What `reply` makes of it is kept in the
        same transaction. Raises InputError `never_changed`.
        """


class Never(Protocol):
    """The store of the never-list."""

    async def never_list(self, key: DataKey) -> NeverList:
        """All rules."""


class Upserter:
    """Lists entries for the programs of one member."""

    def __init__(
        self,
        *,
        member: str,
        data_key: DataKey,
        lists: Lists,
        never: Never,
        most_days: Callable[[str], int] = lambda _: MAX_DAYS,
        now: Callable[[], datetime],
        random: Callable[[int], bytes],
        new_id: Callable[[], UUID],
    ) -> None:
        self._member = member
        self._data_key = data_key
        self._lists = lists
        self._never = never
        self._most_days = most_days
        self._now = now
        self._random = random
        self._new_id = new_id

    async def upsert(
        self,
        of: ListRow,
        wanted: Sequence[Sequence[str]],
        change: Change,
        *,
        atomic: bool = False,
        reply: Callable[[Sequence[Upserted]], Any] | None = None,
    ) -> Sequence[Upserted]:
        """List entries, each given as `CELLS`; what became of each, in their order.

        What `reply` makes of that is kept in the same transaction; with `atomic`, only if all were listed.

        Raises:
            InputError: `never_changed`: nothing was changed, do it again.
            StoreError: PostgreSQL is away; nothing was changed.

        """
        never = await self._never.never_list(self._data_key)
        rows, answers = self._judged(of, wanted, never)

        def told(effects: Mapping[bytes, Effect]) -> Sequence[Upserted]:
            return [_upserted(effects[one]) if isinstance(one, bytes) else one for one in answers]

        if atomic and any(isinstance(one, Upserted) and not one.done for one in answers):
            return [one if isinstance(one, Upserted) else Upserted(None) for one in answers]
        effects = await self._lists.upsert(
            of.id,
            list(rows.values()),
            change,
            never_upto=never.upto,
            atomic=atomic,
            reply=None if reply is None else lambda effects: reply(told(effects)),
        )
        return told(effects)

    def _judged(
        self, of: ListRow, wanted: Sequence[Sequence[str]], never: NeverList
    ) -> tuple[dict[bytes, EntryRow], list[bytes | Upserted]]:
        """The rows to write, and for each entry its handle, or why it is not written."""
        most = self._most_days(of.category)
        defaults = Defaults(of.category, days=usual_days(most), most_days=most)
        rules = Rules(defaults, self._now(), _COLUMNS, never)
        rows: dict[bytes, EntryRow] = {}
        answers: list[bytes | Upserted] = []
        for place, cells in enumerate(wanted):
            judged = rules.judge(place, cells)
            if isinstance(judged, BadRow):
                where = f"{judged.column}: " if judged.column else ""  # the record as a whole has no column
                answers.append(Upserted(None, judged.code, where + judged.message))
            else:
                row = self._row(f"{self._member}/{of.name}", judged)
                if row.handle in rows:
                    answers[answers.index(row.handle)] = Upserted(
                        None, "repeated", "A later entry of the request names the same identifier, and counts."
                    )
                rows[row.handle] = row
                answers.append(row.handle)
        return rows, answers

    def _row(self, name: str, row: Row) -> EntryRow:
        value, place, record = row.identifier.oprf_input, self._new_id(), row.record
        nonce = self._random(NONCE_BYTES)
        return EntryRow(
            id=place,
            handle=self._data_key.handle(value, name),
            sealed=self._data_key.seal_identifier(value, nonce, row=place, list_name=name, state="active"),
            record=record.to_bytes(),
            content=content_of(record),
            valid_from=record.listed_at,
            valid_until=record.valid_until,
            case_handle=self._data_key.case_handle(record.case, name) if record.case else None,
        )


def _upserted(effect: Effect) -> Upserted:
    code, message = _STAYS.get(effect, (None, ""))
    return Upserted(effect, code, message)
