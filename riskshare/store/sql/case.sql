-- The case database of an audit (SQLite): facts that replay took from the members' folders.
-- Times are milliseconds since 1970 (UTC), digests 32 bytes. The fields are told in riskshare/audit/fact.py.

-- name: schema
create table if not exists about (name text primary key, value blob not null) without rowid;
create table if not exists log (
    member text primary key, size integer not null, root blob not null, start integer not null,
    opened integer not null, closed integer not null, first_cosigned integer, last_cosigned integer
) without rowid;
create table if not exists receipt (
    member text not null, idx integer not null, id blob not null, note text not null,
    primary key (member, idx)
) without rowid;
-- With a rowid, and without an index while they come: the rows are appended.
create table if not exists exchange (
    id blob not null, querier text not null, owner text not null, batch blob not null, ask blob not null,
    answer blob not null, epoch blob not null, purpose text not null, count integer not null,
    registry integer not null, asked_at integer not null, answered_at integer not null, faults integer not null
);
create table if not exists named_snapshot (
    querier text not null, owner text not null, list text not null, digest blob not null, exchange blob not null,
    primary key (querier, owner, list, digest)
) without rowid;
create table if not exists unanswered (
    member text not null, idx integer not null, ask blob not null, owner text not null, batch blob not null,
    asked_at integer not null, primary key (member, idx)
) without rowid;
create table if not exists epoch (
    owner text not null, digest blob not null, keyset text not null, number integer not null,
    opened integer not null, closed integer not null, public_key blob not null, idx integer not null,
    member text not null, primary key (member, idx)
) without rowid;
create table if not exists snapshot (
    owner text not null, list text not null, epoch blob not null, version integer not null, digest blob not null,
    previous blob not null, issued_at integer not null, idx integer not null, member text not null,
    primary key (member, idx)
) without rowid;
create table if not exists check_ (
    member text not null, idx integer not null, id blob not null, answered_at integer not null, record blob not null,
    primary key (member, idx)
) without rowid;
create table if not exists registry (
    member text not null, idx integer not null, version integer not null, digest blob not null,
    primary key (member, idx)
) without rowid;
create table if not exists audit (
    member text not null, idx integer not null, digest blob not null, auditor text not null, action text not null,
    requested_at integer not null, about text not null, primary key (member, idx)
) without rowid;
create table if not exists settlement (
    member text not null, idx integer not null, digest blob not null, first text not null, second text not null,
    opened integer not null, closed integer not null, primary key (member, idx)
) without rowid;
create table if not exists checkpoint (
    member text not null, size integer not null, cosigned_at integer not null, primary key (member, size)
) without rowid;
create table if not exists activity (
    member text not null, bucket integer not null, receipts integer not null, checks integer not null,
    elements integer not null, primary key (member, bucket)
) without rowid;
create table if not exists tally (
    member text not null, name text not null, count integer not null, primary key (member, name)
) without rowid;
create table if not exists flaw (
    member text not null, step text not null, kind text not null, idx integer not null, sentence text not null,
    primary key (member, step, kind, idx)
) without rowid;
create table if not exists done (
    member text not null, step text not null, upto integer not null, primary key (member, step)
) without rowid;
create table if not exists waiting (member text not null, idx integer not null, primary key (member, idx)) without rowid;

-- name: index_exchanges
create unique index if not exists exchange_by_id on exchange (id);

-- name: leave_one_of_each
delete from exchange where rowid not in (select min(rowid) from exchange group by id);

-- name: indices
create index if not exists receipt_by_id on receipt (id);
create index if not exists exchange_faulty on exchange (id, faults) where faults <> 0;

-- With an order, both indices are read side by side once; without it, one is looked up in the other for each receipt.
-- name: wait
insert or ignore into waiting
select min(member), idx from receipt indexed by receipt_by_id
where id in (
    select id from receipt indexed by receipt_by_id except select id from exchange indexed by exchange_by_id order by id
)
group by id;

-- name: faulty
select receipt.member, receipt.idx, receipt.id, receipt.note, exchange.faults
from exchange indexed by exchange_faulty join receipt on receipt.id = exchange.id where exchange.faults <> 0;

-- name: flaws
select member, step, kind, idx, sentence from (
    select *, row_number() over (partition by step, kind order by idx) as place from flaw where member = ?
) where place <= ? order by step, kind, idx;

-- Of the epochs named in answers of an owner: how many, and how many do not stand on its ledger.
-- name: epochs_named
select count(*), sum(not exists (select 1 from epoch where epoch.owner = named.owner and epoch.digest = named.epoch))
from (select distinct owner, epoch from exchange where owner = ?) as named;

-- The same of snapshots.
-- name: snapshots_named
select count(*), sum(not exists (select 1 from snapshot where snapshot.digest = named.digest and owner = named.owner))
from (select distinct owner, digest from named_snapshot where owner = ?) as named;

-- Of the asks that an owner answered: the oldest and the newest registry version that they name.
-- name: versions_named
select min(registry), max(registry) from exchange where owner = ? and registry > 0;

-- name: totals
select (select count(*) from exchange), (select count(*) from receipt);
