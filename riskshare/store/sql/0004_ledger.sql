-- The ledger: every receipt, check, unanswered ask, snapshot, epoch and registry version becomes an entry of this log.

-- A registry version is logged under a salt of this member's own, drawn here: 16 bytes out of 244 random bits.
alter table registry_versions add column salt bytea not null
    default substr(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 1, 16)
    check (length(salt) = 16);
create index snapshots_by_digest on snapshots (digest);

-- The ledger: this member's log, what it saw of the others' as their witness, and what they account for -----------

-- The 32 bytes that stand in the log for a statement; the functions are inlined where they are called.
create function ledger_entry(salt bytea, kind text, statement bytea) returns bytea language sql stable parallel safe
    as $$ select sha256(salt || convert_to(kind || E'\n', 'UTF8') || statement) $$;

-- The statement in a file `{"signatures":[…],"statement":…}`: no signature has such a text in it.
create function registry_statement(file bytea) returns bytea language sql immutable parallel safe
    as $$
        select substring(file from at + 14 for greatest(length(file) - at - 14, 0))
        from (select position('],"statement":'::bytea in file) as at) as found
    $$;

-- What is kept and not yet in the log: a row in the same statement that keeps the thing itself. It has no index and no
-- check, for every exchange pays for it; whatever is in the log is deleted.
create table ledger_pending (
    kind text not null,
    source bytea not null,
    entry bytea not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);

-- Which entry of the log stands for what is kept. `source` is the id of a receipt (32 bytes) or check (16), the batch
-- of an unanswered ask (16), the digest of the statement of a snapshot, epoch, end of an epoch or registry (32).
create table ledger_entries (
    index bigint primary key check (index >= 0),
    kind text not null,
    source bytea not null,
    unique (kind, source)
);

-- The widest tile and bundle at each place, as they are served.
create table ledger_tiles (
    level smallint not null,
    index bigint not null,
    width smallint not null check (width between 1 and 256),
    hashes bytea not null check (length(hashes) = 32 * width),
    primary key (level, index)
) with (toast_tuple_target = 8160);
alter table ledger_tiles alter column hashes set storage external;

create table ledger_bundles (
    index bigint primary key,
    width smallint not null check (width between 1 and 256),
    entries bytea not null check (length(entries) = 34 * width)
) with (toast_tuple_target = 8160);
alter table ledger_bundles alter column entries set storage external;

-- What this log signed. The greatest size is its head; a note grows by the cosignatures of witnesses.
create table ledger_checkpoints (
    size bigint primary key check (size >= 0),
    root bytea not null check (length(root) = 32),
    note bytea not null,
    signed_at timestamptz not null,
    final_at timestamptz
);
create index ledger_checkpoints_final on ledger_checkpoints (size) where final_at is not null;

-- At most one row: with it, this log signs nothing more.
create table ledger_state (
    one boolean primary key default true check (one),
    halted_code text not null,
    halted_why text not null,
    halted_at timestamptz not null default clock_timestamp()
);

-- The latest checkpoint that this member cosigned of each log.
create table ledger_witnessed (
    origin text primary key,
    size bigint not null check (size >= 0),
    root bytea not null check (length(root) = 32),
    note bytea not null,
    at timestamptz not null
);

-- A counterparty's own entry for what concerns us, verified: so each side knows that the other has accounted.
create table ledger_accounts (
    member text not null,
    kind text not null,
    source bytea not null,
    index bigint not null check (index >= 0),
    salt bytea not null check (length(salt) = 16),
    proof bytea not null,
    size bigint not null check (size > index),
    received_at timestamptz not null,
    primary key (member, kind, source)
);

-- What this member knows of another's log: the next entry to ask for, and the newest checkpoint verified.
create table ledger_followed (
    member text primary key,
    next_index bigint not null check (next_index >= 0),
    size bigint not null check (size >= 0),
    root bytea not null check (length(root) = 32),
    note bytea not null,
    latest_size bigint not null check (latest_size >= 0),
    grown_at timestamptz not null,
    -- Since when a receipt of ours waits for that log to grow, and since when that has lasted too long.
    waiting_since timestamptz,
    stalled_since timestamptz
);

-- What counterparties have not accounted for in time: few, or the members concerned are told. `asked` counts how
-- often it was asked for.
create table ledger_awaited (
    member text not null,
    kind text not null,
    source bytea not null,
    since timestamptz not null,
    asked integer not null default 0,
    primary key (member, kind, source)
);

-- Receipts kept before `upto` are accounted for, or awaited. At most one row.
create table ledger_awaited_upto (
    one boolean primary key default true check (one),
    upto timestamptz not null
);

-- What was kept before there was a ledger.
insert into ledger_pending (kind, source, entry)
select kind, source, ledger_entry(salt, kind, statement)
from (
    select 1, version, 'registry', digest, salt, registry_statement(file) from registry_versions
    union all
    select 2, number, 'epoch', digest, salt, statement from epochs
    union all
    select 3, number, 'epoch', sha256(end_statement), end_salt, end_statement from epochs
    where end_statement is not null
    union all
    select 4, version, 'snapshot', digest, salt, statement from snapshots
    union all
    select 5, seq, 'receipt', id, salt, receipt from receipts
    union all
    select 6, seq, 'check', uuid_send(id), salt, statement from checks
    union all
    select 7, seq, 'unanswered', uuid_send(batch), salt, ask from unanswered
) as kept (rank, place, kind, source, salt, statement)
order by rank, place;
