-- Under which data key the rows of this database are, and sealing them under another one.

-- name: admit
insert into data_keys (fingerprint) values ($1) on conflict do nothing

-- name: state
select number, fingerprint, next from data_keys

-- name: begin
update data_keys set next = $2, since = clock_timestamp() where fingerprint = $1 and next is null

-- name: held_now
-- Fails at once while somebody who writes under the present key has not committed.
select 1 from data_keys for update nowait

-- name: finish
update data_keys set number = number + 1, fingerprint = next, next = null, since = clock_timestamp()
where next = $1

-- name: forget_replies
-- They are sealed under keys derived from the former data key, and found by such keys.
delete from idempotency

-- name: staged
-- Tables with rows of imports that are not over.
select count(*) from pg_class
where relnamespace = 'public'::regnamespace and relkind = 'r' and relname ~ '^import_rows_[0-9]+$'

-- name: count_entries
select count(*) from entries

-- name: count_versions
select count(*) from entry_versions

-- name: count_rules
select count(*) from never_rules where kind = 'exact'

-- name: all_entries
select e.id, e.list_id, e.handle, 0::bigint as number, e.sealed, e.state, l.name,
       case when e.case_handle is null then null else e.record end as record
from entries e
join lists l on l.id = e.list_id

-- name: all_versions
select v.id, v.list_id, v.handle, v.superseded_by as number, v.sealed, v.state, l.name, null::bytea as record
from entry_versions v
join lists l on l.id = v.list_id

-- name: all_rules
select row as id, 0 as list_id, handle, number, sealed, 'active' as state, '' as name, null::bytea as record
from never_rules
where kind = 'exact'

-- name: write_entries
update entries e set sealed = n.sealed, handle = n.new_handle, case_handle = n.case_handle
from unnest($1::integer[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[])
    as n (list_id, handle, sealed, new_handle, case_handle)
where e.list_id = n.list_id and e.handle = n.handle

-- name: write_versions
update entry_versions v set sealed = n.sealed, handle = n.new_handle
from unnest($1::integer[], $2::bytea[], $3::bigint[], $4::bytea[], $5::bytea[])
    as n (list_id, handle, superseded_by, sealed, new_handle)
where v.list_id = n.list_id and v.handle = n.handle and v.superseded_by = n.superseded_by

-- name: write_rules
update never_rules r set sealed = n.sealed, handle = n.new_handle
from unnest($1::bigint[], $2::bytea[], $3::bytea[]) as n (number, sealed, new_handle)
where r.number = n.number

-- name: epochs
select digest, secret_sealed from epochs where length(secret_sealed) > 0 order by digest

-- name: write_epoch
update epochs set secret_sealed = $2 where digest = $1
