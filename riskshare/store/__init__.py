"""The store: everything that a member must still know after a crash, in PostgreSQL.

Order of durability
    An owner commits the receipt (both signed halves, the elements, the evaluated elements); only then the
    answer leaves. A querier commits the sealed record of a check together with the receipts that it holds and
    the asks that nobody answered; only then the verdict leaves. A segment's file is synced to disk, then its
    row and its snapshot are committed together, then the snapshot is served; a file is deleted only after its
    row. A crash between any two of these steps loses nothing: what was committed and never left is found by its key
    (batch, check, version) when it is asked for again.

    A subscriber uses a list's new state as soon as it is verified and commits it right behind, again with each poll
    until that succeeds: a withdrawal must not wait for PostgreSQL. A crash in between forgets that one version, and the
    owner is asked for it again; one that then shows another in its place is convicted by checks that named the first.

    A flush whose outcome is in doubt counts as failed; repeating it changes nothing (`group_commit`). On a replicated
    PostgreSQL "committed" must mean a synchronous replica (`synchronous_standby_names`): the operator sees to it.

Who is trusted with what
    Whoever reads the database sees: which lists there are and how many entries; the records of entries, though
    not of whom; other members' names with counts and times of exchanges; blinded elements, which hide
    perfectly; signed statements, most of them known to others anyway. No table holds an identifier in the
    clear: entries hold it sealed under the member's data key and as a keyed hash, checks are sealed to the
    member itself, OPRF keys and hour keys are sealed. Tokens and labels are in no table. The keys that open
    these are in the member's key files, not here.

    Whoever writes to the database can withhold (delete entries, receipts, checks) and can put back an old
    state; he cannot forge what others signed nor make up an entry that opens. The ledger makes lost receipts
    show.

    PostgreSQL's log gets no statement texts, parameters or details from the server that riskshare starts itself
    (`embedded`); an operator of another server is asked for the same in the deployment notes.

Where things are: `Store` opens all (`store`), with `lists` (`intake` imports), `publications`, `trust`,
`records`, `idempotency`; `exchange` is the hot path over `group_commit`; `leader` elects who publishes;
`notify` listens; `migrate` brings the schema up to date; `embedded` runs a PostgreSQL where none is configured;
SQL lives in `sql/`. `files` keeps the segment files beside it.
"""
