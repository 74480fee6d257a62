-- The owner's lists and their entries.

-- name: create_list
with created as (
    insert into lists (name, category, keyset, granted) values ($1, $2, $3, $4)
    on conflict (name) do nothing
    returning *
), told as (
    select pg_notify('riskshare_lists', name) from created
)
select created.* from created left join told on true

-- name: lock_keysets
-- Of two lists that are made at once, the second sees the keyset of the first.
select pg_advisory_xact_lock($1, $2)

-- name: keyset_taken
-- A list under grants is alone in its keyset: who may have an open list evaluated would have it evaluated too.
select exists (select from lists where keyset = $1 and name <> $2 and (granted or $3))

-- name: list_named
select * from lists where name = $1

-- name: list_with_id
select * from lists where id = $1

-- name: lists
select * from lists order by name

-- name: counts
select count(*) filter (where state = 'active') as active,
       count(*) filter (where state = 'disputed') as disputed,
       count(*) filter (where state = 'withdrawn') as withdrawn,
       count(*) filter (where changed > published.upto) as pending
from (select coalesce(max(s.changed), 0) as upto from snapshots s where s.list_id = $1) as published
left join entries on list_id = $1

-- name: consult
select e.*
from lists l
join entries e on e.list_id = l.id
where e.handle = any($1::bytea[]) and e.state <> 'withdrawn' and e.valid_from <= $2 and e.valid_until > $2

-- name: entries_of
-- In whatever state they are.
select e.*
from lists l
join entries e on e.list_id = l.id
where e.handle = any($1::bytea[])
order by l.name

-- name: conclude
with raised as (
    update lists set changed = changed + 1 where id = $1 returning id, name, changed
), noted as (
    insert into list_changes (list_id, number, author, action, reason, import_id,
                              added, replaced, relisted, withdrawn, disputed, restored)
    select id, changed, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11 from raised
    returning number
)
select number, pg_notify('riskshare_lists', (select name from raised)) from noted

-- name: tell
select pg_notify('riskshare_lists', $1)

-- name: lock_list
select * from lists where id = $1 for no key update

-- name: changes
select * from entries
where list_id = $1 and changed > $2
order by changed

-- name: listed
select * from entries
where list_id = $1 and handle > $2 and state <> 'withdrawn'
order by handle

-- name: sealed
-- What a computing needs of them, and no more: there may be many millions.
select handle, uuid_send(id) as id, sealed, state, record from entries
where list_id = $1 and handle > $2 and state <> 'withdrawn'
order by handle

-- name: chosen
select * from entries
where list_id = $1 and (handle = any($2::bytea[]) or ($3::bytea is not null and case_handle = $3))
order by id

-- name: live_handles
select handle from entries where list_id = $1 and handle = any($2::bytea[]) and state <> 'withdrawn'

-- name: live_of_handles
select * from entries where list_id = $1 and handle = any($2::bytea[]) and state <> 'withdrawn' order by id

-- name: live_since
select * from entries where list_id = $1 and changed > $2 and state <> 'withdrawn' order by changed

-- name: due
select * from entries
where list_id = $1 and state <> 'withdrawn' and valid_until <= $2
order by id

-- name: next_overlong
select min(valid_from) + $2::interval from entries
where list_id = $1 and state <> 'withdrawn' and valid_until > valid_from + $2::interval

-- name: overlong
select * from entries
where list_id = $1 and state <> 'withdrawn' and valid_until > valid_from + $2::interval
  and valid_from + $2::interval <= $3
order by id

-- name: lists_with_due
select * from lists l
where exists (select from entries e where e.list_id = l.id and e.state <> 'withdrawn' and e.valid_until <= $1)
order by name

-- name: change_state
-- What an entry was before goes into its history.
with kept as (
    insert into entry_versions
           (list_id, handle, superseded_by, id, sealed, record, state, reason, valid_from, valid_until, changed)
    select list_id, handle, $6, id, sealed, record, state, reason, valid_from, valid_until, changed
    from entries where id = any($1::uuid[])
)
update entries e
set sealed = n.sealed, record = n.record, state = $4, reason = $5, changed = $6
from unnest($1::uuid[], $2::bytea[], $3::bytea[]) as n (id, sealed, record)
where e.id = n.id

-- name: settle_import
-- The last row of an import that names a handle counts. What stands there decides what becomes of it.
create temporary table settled on commit drop as
select n.handle, n.line,
       case
           when e.id is null then 'new'
           when e.state = 'disputed' then 'disputed'
           when e.state = 'withdrawn' then case when e.reason = any($2::text[]) then 'barred' else 'relisted' end
           when e.content = n.content then 'same'
           else 'replaced'
       end as effect
from (select distinct on (handle) handle, line, content from incoming order by handle, line desc) as n
left join entries e on e.list_id = $1 and e.handle = n.handle

-- name: count_import
select count(*) filter (where effect = 'new') as new,
       count(*) filter (where effect = 'replaced') as replaced,
       count(*) filter (where effect = 'relisted') as relisted,
       count(*) filter (where effect = 'same') as same,
       count(*) filter (where effect = 'disputed') as disputed,
       count(*) filter (where effect = 'barred') as barred,
       (select count(*) from incoming) - count(*) as repeated
from settled

-- name: count_missing
select count(*) from entries e
where e.list_id = $1 and e.state <> 'withdrawn'
  and not exists (select from settled s where s.handle = e.handle)

-- name: missing
select * from entries e
where e.list_id = $1 and e.state <> 'withdrawn'
  and not exists (select from settled s where s.handle = e.handle)
order by id

-- name: keep_former
insert into entry_versions
       (list_id, handle, superseded_by, id, sealed, record, state, reason, valid_from, valid_until, changed)
select e.list_id, e.handle, $2, e.id, e.sealed, e.record, e.state, e.reason, e.valid_from, e.valid_until, e.changed
from settled s
join entries e on e.list_id = $1 and e.handle = s.handle
where s.effect in ('replaced', 'relisted')

-- name: write_import
insert into entries
       (id, list_id, handle, sealed, record, content, state, reason, valid_from, valid_until, changed, case_handle)
select n.id, $1, n.handle, n.sealed, n.record, n.content, 'active', null, n.valid_from, n.valid_until, $2, n.case_handle
from settled s
join incoming n on n.line = s.line
where s.effect in ('new', 'replaced', 'relisted')
order by n.handle
on conflict (list_id, handle) do update
set id = excluded.id, sealed = excluded.sealed, record = excluded.record, content = excluded.content,
    state = 'active', reason = null, valid_from = excluded.valid_from, valid_until = excluded.valid_until,
    changed = excluded.changed, case_handle = excluded.case_handle

-- name: rules_since
select exists (select from never_rules where number > $1)

-- name: standing
select handle, state, reason, content from entries where list_id = $1 and handle = any($2::bytea[])

-- name: keep_former_of
insert into entry_versions
       (list_id, handle, superseded_by, id, sealed, record, state, reason, valid_from, valid_until, changed)
select list_id, handle, $2, id, sealed, record, state, reason, valid_from, valid_until, changed
from entries where list_id = $1 and handle = any($3::bytea[])

-- name: write_upsert
insert into entries
       (id, list_id, handle, sealed, record, content, state, reason, valid_from, valid_until, changed, case_handle)
select id, $1, handle, sealed, record, content, 'active', null, valid_from, valid_until, $2, case_handle
from unnest($3::uuid[], $4::bytea[], $5::bytea[], $6::bytea[], $7::bytea[], $8::timestamptz[], $9::timestamptz[],
            $10::bytea[])
     as n (id, handle, sealed, record, content, valid_from, valid_until, case_handle)
on conflict (list_id, handle) do update
set id = excluded.id, sealed = excluded.sealed, record = excluded.record, content = excluded.content,
    state = 'active', reason = null, valid_from = excluded.valid_from, valid_until = excluded.valid_until,
    changed = excluded.changed, case_handle = excluded.case_handle

-- name: keep_reply
insert into idempotency (api_key, key_digest, request_digest, response) values ($1, $2, $3, $4)
on conflict (api_key, key_digest) do update set response = excluded.response
where idempotency.request_digest = excluded.request_digest and idempotency.response is null
