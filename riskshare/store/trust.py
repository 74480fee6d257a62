"""What this member trusts of others: catalogues, epoch statements, list states, proofs of fraud, the registry.

Whether a statement may be trusted is decided before; this keeps it so that nothing goes back over a restart or
a race of two workers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, final

from riskshare.sharing.kept import CatalogueRow, EpochStatementRow, FraudProofRow, HeldRow, RegistryRow, TrustedRow
from riskshare.store.connection import HELD_LOCK, LOCK_CLASS, affected, columns
from riskshare.store.failures import guarded
from riskshare.store.queries import load

if TYPE_CHECKING:
    from riskshare.store.connection import Pool

_SQL: Final = load("trust.sql")


@final
class Trust:
    """Every method raises `StoreError` if PostgreSQL is away."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def keep_catalogue(self, row: CatalogueRow) -> bool:
        """Keep an owner's newest catalogue, or the same one received again.

        False: it is older, or another of the same version.
        """
        with guarded():
            status = await self._pool.execute(
                _SQL["keep_catalogue"], row.owner, row.version, row.statement, row.signature, row.received_at
            )
        return affected(status) == 1

    async def catalogues(self) -> list[CatalogueRow]:
        """The newest catalogue of each owner."""
        with guarded():
            return [CatalogueRow(**row) for row in await self._pool.fetch(_SQL["catalogues"])]

    async def drop_catalogue(self, owner: str) -> None:
        """Forget an owner's catalogue, to recover from a version that a stolen key pushed too far."""
        with guarded():
            await self._pool.execute(_SQL["drop_catalogue"], owner)

    async def keep_epoch_statement(self, row: EpochStatementRow) -> EpochStatementRow:
        """Keep an epoch statement; gives what stands for its (owner, keyset, number).

        If that has another digest, the two statements are a proof of fraud.
        """
        with guarded():
            async with self._pool.acquire() as connection:
                await connection.execute(
                    _SQL["keep_epoch_statement"],
                    row.digest,
                    row.owner,
                    row.keyset,
                    row.number,
                    row.statement,
                    row.signature,
                    row.salt,
                    row.received_at,
                )
                stands = await connection.fetchrow(_SQL["epoch_statement_numbered"], row.owner, row.keyset, row.number)
        assert stands is not None
        return EpochStatementRow(**stands)

    async def epoch_statement(self, digest: bytes) -> EpochStatementRow | None:
        """The epoch statement of this digest."""
        with guarded():
            row = await self._pool.fetchrow(_SQL["epoch_statement"], digest)
        return None if row is None else EpochStatementRow(**row)

    async def epoch_statements(self, owner: str | None = None) -> list[EpochStatementRow]:
        """Epoch statements of one owner, or of all."""
        with guarded():
            return [EpochStatementRow(**row) for row in await self._pool.fetch(_SQL["epoch_statements"], owner)]

    async def save_trusted(
        self, owner: str, list_name: str, state: bytes, previous: TrustedRow | None, now: datetime
    ) -> TrustedRow | None:
        """Swap the state of one list for a newer one; None if it is no longer `previous` that stands there.

        `previous` is the row that the writer read, None for no row.
        """
        with guarded():
            async with self._pool.acquire() as connection, connection.transaction():
                if previous is None:
                    row = await connection.fetchrow(_SQL["begin_trust"], owner, list_name, state, now)
                else:
                    row = await connection.fetchrow(
                        _SQL["swap_trust"], owner, list_name, state, now, previous.revision, previous.state
                    )
                if row is not None:
                    await connection.execute(_SQL["tell_trust"], list_name)
        return None if row is None else TrustedRow(**row)

    async def trusted(self, owner: str, list_name: str) -> TrustedRow | None:
        """The state of one list (full name)."""
        with guarded():
            row = await self._pool.fetchrow(_SQL["trusted"], owner, list_name)
        return None if row is None else TrustedRow(**row)

    async def all_trusted(self) -> list[TrustedRow]:
        """The states of all lists that this member follows."""
        with guarded():
            return [TrustedRow(**row) for row in await self._pool.fetch(_SQL["all_trusted"])]

    async def keep_held(self, rows: Sequence[HeldRow], span: int) -> list[HeldRow]:
        """Keep snapshots of others, each key once in `rows`; gives those that stood there and say something else.

        What is given last stands. Of older versions of their lists only those are left that survive, as
        `held_page.survives` tells, with `span` for its SPAN.
        """
        newest: dict[tuple[str, bytes], int] = {}
        for row in rows:
            chain = row.list_name, row.epoch
            newest[chain] = max(row.version, newest.get(chain, 0))
        values = [
            (row.key, row.digest, row.list_name, row.epoch, row.version, row.wire, row.signer, row.received_at)
            for row in rows
        ]
        with guarded():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(_SQL["lock_held"], LOCK_CLASS, HELD_LOCK)
                former = await connection.fetch(_SQL["keep_held"], *columns(values, 8))
                chains = columns([(*chain, version) for chain, version in newest.items()], 3)
                await connection.execute(_SQL["thin_held"], *chains, span)
        return [HeldRow(**row) for row in former]

    async def held_after(
        self, after: int, epochs: Collection[bytes], limit: int
    ) -> tuple[list[tuple[bytes, bytes]], int]:
        """Keys and digests of snapshots of these epochs, in the order of keeping, and where to go on.

        `after` is 0 at first, then the second part of the call before; one that is greater than all that was ever
        given (another database) leads back.
        """
        with guarded():
            rows = await self._pool.fetch(_SQL["held_after"], after, list(epochs), limit)
            upto = rows[-1]["seq"] if rows else min(after, await self._pool.fetchval(_SQL["held_upto"]))
        return [(row["key"], row["digest"]) for row in rows], upto

    async def differing_held(self, theirs: Mapping[bytes, bytes]) -> list[HeldRow]:
        """The snapshots held under these keys that have another digest."""
        with guarded():
            rows = await self._pool.fetch(_SQL["differing_held"], list(theirs), list(theirs.values()))
        return [HeldRow(**row) for row in rows]

    async def held(self, digest: bytes) -> bytes | None:
        """A snapshot that is held, by its digest: the wire form."""
        with guarded():
            wire: bytes | None = await self._pool.fetchval(_SQL["held"], digest)
        return wire

    async def forget_held(self, before: datetime) -> None:
        """Forget snapshots of others that were received before that time."""
        with guarded():
            await self._pool.execute(_SQL["forget_held"], before)

    async def keep_fraud_proof(self, row: FraudProofRow) -> bool:
        """Keep a proof of fraud. False if the same is kept already."""
        with guarded():
            status = await self._pool.execute(
                _SQL["keep_fraud_proof"], row.kind, row.accused, row.about, row.evidence, row.found_at
            )
        return affected(status) == 1

    async def fraud_proofs(self) -> list[FraudProofRow]:
        """All proofs of fraud, in the order in which they were found."""
        with guarded():
            return [FraudProofRow(**row) for row in await self._pool.fetch(_SQL["fraud_proofs"])]

    async def count_fraud_proofs(self) -> dict[tuple[str, str], int]:
        """How many proofs of fraud are kept, by member accused and kind."""
        with guarded():
            rows = await self._pool.fetch(_SQL["count_fraud_proofs"])
        return {(row["accused"], row["kind"]): row["count"] for row in rows}

    async def keep_registry(self, row: RegistryRow) -> bool:
        """Keep the next version of the registry. False if it does not follow the newest one that is kept."""
        with guarded():
            kept = await self._pool.fetchval(_SQL["keep_registry"], row.version, row.digest, row.file, row.received_at)
        return bool(kept)

    async def registry(self, version: int | None = None) -> RegistryRow | None:
        """One version of the registry, or the newest."""
        with guarded():
            if version is None:
                row = await self._pool.fetchrow(_SQL["newest_registry"])
            else:
                row = await self._pool.fetchrow(_SQL["registry"], version)
        return None if row is None else RegistryRow(**row)

    async def registries(self) -> list[RegistryRow]:
        """All versions of the registry that are kept, oldest first."""
        with guarded():
            return [RegistryRow(**row) for row in await self._pool.fetch(_SQL["registries"])]
