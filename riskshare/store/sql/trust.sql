-- What a subscriber trusts. Nothing here goes backwards.

-- name: keep_catalogue
insert into catalogues (owner, version, statement, signature, received_at)
values ($1, $2, $3, $4, $5)
on conflict (owner) do update
set version = excluded.version, statement = excluded.statement, signature = excluded.signature,
    received_at = excluded.received_at
where excluded.version > catalogues.version
   or (excluded.version = catalogues.version and excluded.statement = catalogues.statement)

-- name: catalogues
select * from catalogues order by owner

-- name: drop_catalogue
delete from catalogues where owner = $1

-- name: keep_epoch_statement
insert into epoch_statements (digest, owner, keyset, number, statement, signature, salt, received_at)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict do nothing

-- name: epoch_statement
select * from epoch_statements where digest = $1

-- name: epoch_statement_numbered
select * from epoch_statements where owner = $1 and keyset = $2 and number = $3

-- name: epoch_statements
select * from epoch_statements where $1::text is null or owner = $1 order by owner, keyset, number

-- name: begin_trust
insert into trusted (owner, list_name, revision, state, updated_at) values ($1, $2, 1, $3, $4)
on conflict (owner, list_name) do nothing
returning *

-- name: swap_trust
-- Compare and swap on the revision and the state that the writer read.
update trusted set revision = revision + 1, state = $3, updated_at = $4
where owner = $1 and list_name = $2 and revision = $5 and state = $6
returning *

-- name: tell_trust
select pg_notify('riskshare_trusted', $1)

-- name: trusted
select * from trusted where owner = $1 and list_name = $2

-- name: all_trusted
select * from trusted order by owner, list_name

-- name: lock_held
-- Who reads on from a `seq` must find nothing before it later: rows become visible in its order.
select pg_advisory_xact_lock($1, $2)

-- name: keep_held
-- Gives what stood there and says something else; what is accepted last stands.
with given as (
    select *
    from unnest($1::bytea[], $2::bytea[], $3::text[], $4::bytea[], $5::bigint[], $6::bytea[], $7::bytea[], $8::timestamptz[])
        as g (key, digest, list_name, epoch, version, wire, signer, received_at)
), former as (
    select h.* from held_snapshots h join given g on g.key = h.key and g.digest <> h.digest
), kept as (
    insert into held_snapshots (key, digest, list_name, epoch, version, wire, signer, received_at)
    select * from given
    on conflict (key) do update
    set seq = default, digest = excluded.digest, wire = excluded.wire, signer = excluded.signer,
        received_at = excluded.received_at
    where held_snapshots.digest <> excluded.digest
)
select key, digest, list_name, epoch, version, wire, signer, received_at from former

-- name: thin_held
-- The rule of `held_page.survives`.
delete from held_snapshots h
using unnest($1::text[], $2::bytea[], $3::bigint[]) as g (list_name, epoch, newest)
where h.list_name = g.list_name and h.epoch = g.epoch and g.newest - h.version >= $4 * (h.version & -h.version)

-- name: held_after
select seq, key, digest from held_snapshots where seq > $1 and epoch = any($2) order by seq limit $3

-- name: held_upto
select coalesce(max(seq), 0) from held_snapshots

-- name: differing_held
select h.key, h.digest, h.list_name, h.epoch, h.version, h.wire, h.signer, h.received_at
from unnest($1::bytea[], $2::bytea[]) as t (key, digest)
join held_snapshots h on h.key = t.key and h.digest <> t.digest

-- name: held
select wire from held_snapshots where digest = $1 limit 1

-- name: forget_held
delete from held_snapshots where received_at < $1

-- name: keep_fraud_proof
insert into fraud_proofs (kind, accused, about, evidence, found_at) values ($1, $2, $3, $4, $5)
on conflict (kind, about) do nothing

-- name: fraud_proofs
select kind, accused, about, evidence, found_at from fraud_proofs order by id

-- name: count_fraud_proofs
select accused, kind, count(*) from fraud_proofs group by accused, kind order by accused, kind

-- name: keep_registry
-- Each version follows the last one without a gap; the first may have any number.
with kept as (
    insert into registry_versions (version, digest, file, received_at)
    select $1, $2, $3, $4
    where $1 = coalesce((select max(version) + 1 from registry_versions), $1)
    on conflict (version) do nothing
    returning version, digest, salt, file
), pending as (
    insert into ledger_pending (kind, source, entry)
    select 'registry', digest, ledger_entry(salt, 'registry', registry_statement(file)) from kept
)
select count(*), max(pg_notify('riskshare_registry', version::text)::text) from kept

-- name: registry
select version, digest, file, received_at from registry_versions where version = $1

-- name: registries
select version, digest, file, received_at from registry_versions order by version

-- name: newest_registry
select version, digest, file, received_at from registry_versions order by version desc limit 1
