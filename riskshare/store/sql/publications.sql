-- What an owner published: epochs, canaries, snapshots, segments, catalogues.

-- name: add_epoch
with added as (
    insert into epochs (digest, keyset, number, statement, signature, salt, secret_sealed, not_before, not_after, ended_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
    on conflict do nothing
    returning keyset, digest, salt, statement
), pending as (
    insert into ledger_pending (kind, source, entry)
    select 'epoch', digest, ledger_entry(salt, 'epoch', statement) from added
)
select count(*), max(pg_notify('riskshare_epochs', keyset)::text) from added

-- name: epochs
select * from epochs where $1::text is null or keyset = $1 order by keyset, number

-- name: epoch
select * from epochs where digest = $1

-- name: end_epoch
-- Of several ends the earliest counts: one that is announced does not stand against an emergency.
with ended as (
    update epochs set ended_at = $2, end_statement = $3, end_signature = $4, end_salt = $5
    where digest = $1 and (ended_at is null or ended_at > $2)
    returning keyset, end_salt, end_statement
), pending as (
    insert into ledger_pending (kind, source, entry)
    select 'epoch', sha256(end_statement), ledger_entry(end_salt, 'epoch', end_statement) from ended
    where end_statement is not null
)
select count(*), max(pg_notify('riskshare_epochs', keyset)::text) from ended

-- name: add_canaries
insert into canaries (list_id, value) select $1, unnest($2::text[]) on conflict do nothing

-- name: canaries
select value from canaries where list_id = $1 order by value

-- name: add_segments
insert into segments (file_digest, list_id, epoch, header_digest, header_length, file_length, kind, created_at)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (file_digest) do nothing

-- name: add_snapshot
-- Compare and swap: the chain must end at the version that the publisher saw. Of two that saw the same, the second
-- waits for the first at the primary key, and then adds nothing. Nor is what was noted of that version taken back.
with former as (
    select withdrawn from snapshots where list_id = $1 and epoch = $2 and version = $13 for update
), added as (
    insert into snapshots
        (list_id, epoch, version, digest, statement, signature, salt, issued_at, expires_at, changed, segments, withdrawn)
    select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::bytea[], $12
    where $13 = coalesce((select max(version) from snapshots where list_id = $1 and epoch = $2), 0)
      and not exists (select from former where former.withdrawn > $12)
      and not exists (
          select from unnest($11::bytea[]) as s (file_digest)
          where not exists (select from segments where segments.file_digest = s.file_digest)
      )
    on conflict (list_id, epoch, version) do nothing
    returning digest, salt, statement
)
insert into ledger_pending (kind, source, entry)
select 'snapshot', digest, ledger_entry(salt, 'snapshot', statement) from added

-- name: is_overtaken
-- Whether the chain ends at another version, or more was noted of that one.
select coalesce(max(version), 0) <> $3 or coalesce(bool_or(version = $3 and withdrawn > $4), false)
from snapshots where list_id = $1 and epoch = $2

-- name: note_withdrawn
update snapshots set withdrawn = $4 where list_id = $1 and epoch = $2 and version = $3 and withdrawn < $4

-- name: tell_snapshot
select pg_notify('riskshare_snapshots', name) from lists where id = $1

-- name: latest_snapshot
select * from snapshots where list_id = $1 and epoch = $2 order by version desc limit 1

-- name: snapshot
select * from snapshots where list_id = $1 and epoch = $2 and version = $3

-- name: snapshot_named
select * from snapshots where list_id = $1 and digest = $2

-- name: segment
select * from segments where file_digest = $1

-- name: segments
select * from segments where file_digest = any($1::bytea[])

-- name: unreferenced_segments
-- Joined, not looked for one by one: there may be some thousands of both.
select s.*
from segments s
left join (select distinct unnest(segments) as named from snapshots) n on n.named = s.file_digest
where s.created_at < $1 and n.named is null

-- name: forget_snapshots
-- The newest of a chain goes when its epoch is long over and the list has gone on under a later one.
delete from snapshots s
using epochs e
where e.digest = s.epoch and s.expires_at < $1
  and (
      s.version < (select max(version) from snapshots n where n.list_id = s.list_id and n.epoch = s.epoch)
      or least(e.not_after, coalesce(e.ended_at, e.not_after)) < $1
      and exists (
          select from snapshots n join epochs later on later.digest = n.epoch
          where n.list_id = s.list_id and later.number > e.number
      )
  )

-- name: forget_segments
-- What snapshots name is gathered once: looked for one by one, each segment would take another reading of them all.
with named as materialized (select distinct unnest(segments) as file_digest from snapshots)
delete from segments s
where s.file_digest = any($1::bytea[]) and not exists (select from named n where n.file_digest = s.file_digest)

-- name: issued_catalogue
select reader, version, content, issued_at, statement, signature from catalogue_versions where reader = $1

-- name: issue_catalogue
-- Compare and swap: of processes that issue the same version, one does.
insert into catalogue_versions (reader, version, content, issued_at, statement, signature)
values ($1, $2, $3, $4, $5, $6)
on conflict (reader) do update
set version = excluded.version, content = excluded.content, issued_at = excluded.issued_at,
    statement = excluded.statement, signature = excluded.signature
where catalogue_versions.version = excluded.version - 1
