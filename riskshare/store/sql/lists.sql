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

-- name: entries_of
-- In whatever state they are.
select e.*
from lists l
join entries e on e.list_id = l.id
where e.handle = any($1::bytea[])
order by l.name

-- name: conclude
with raised as (
    update lists set changed = $3, listed = listed + $8::bigint + $10::bigint - $11::bigint
    where id = $1 and changed = $2 returning id, name, changed
), noted as (
    insert into list_changes (list_id, number, author, action, reason, import_id,
                              added, replaced, relisted, withdrawn, disputed, restored)
    select id, changed, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13 from raised
    returning number
)
select number, pg_notify('riskshare_lists', (select name from raised)) from noted

-- name: tell
select pg_notify('riskshare_lists', $1)

-- name: lock_list
select * from lists where id = $1 for no key update

-- name: lock_adding
select pg_advisory_xact_lock($1, $2)

-- name: changes
-- Of a view, as the next three: it shows nothing of a number above its own. The rows of a list's first import are older
-- than the change that attaches them, and PostgreSQL shows them to transactions that began before that.
select * from entries
where list_id = $1 and changed > $2 and changed <= $3
order by changed

-- name: withdrawals
-- There is an index of just these.
select * from entries
where list_id = $1 and changed > $2 and changed <= $3
  and state = 'withdrawn' and reason <> 'replaced' and reason <> 'expired'
order by changed

-- name: listed
select * from entries
where list_id = $1 and handle > $2 and changed <= $3 and state <> 'withdrawn'
order by handle

-- name: sealed
-- What a computing needs of them, and no more: there may be many millions.
select handle, uuid_send(id) as id, sealed, state, record from entries
where list_id = $1 and handle > $2 and changed <= $3 and state <> 'withdrawn'
order by handle

-- name: chosen
select * from entries
where list_id = $1 and (handle = any($2::bytea[]) or ($3::bytea is not null and case_handle = $3))
order by id

-- name: handles_of_case
select handle from entries where list_id = $1 and case_handle = $2 limit $3

-- name: live_handles
select handle from entries where list_id = $1 and handle = any($2::bytea[]) and state <> 'withdrawn'

-- name: live_of_handles
select * from entries where list_id = $1 and handle = any($2::bytea[]) and state <> 'withdrawn' order by id

-- name: live_since
select * from entries where list_id = $1 and changed > $2 and state <> 'withdrawn' order by changed

-- name: due
-- An entry that an import is just writing is left to the next pass.
select * from entries
where list_id = $1 and state <> 'withdrawn' and valid_until <= $2
order by valid_until
limit $3
for no key update skip locked

-- name: next_overlong
select min(valid_from) + $2::interval from entries
where list_id = $1 and state <> 'withdrawn' and valid_until > valid_from + $2::interval

-- name: overlong_handles
select handle from entries
where list_id = $1 and state <> 'withdrawn' and valid_until > valid_from + $2::interval
  and valid_from + $2::interval <= $3
order by handle

-- name: overlong
-- Those of them that still are, once the list is locked.
select * from entries
where list_id = $1 and state <> 'withdrawn' and valid_until > valid_from + $2::interval
  and valid_from + $2::interval <= $3 and handle = any($4::bytea[])
order by id
for no key update skip locked

-- name: lists_with_due
-- The next one of each list, by the index: to look for any that is due, PostgreSQL may read a long list without one.
select * from lists l
where $1 >= (
    select valid_until from entries where list_id = l.id and state <> 'withdrawn' order by valid_until limit 1
)
order by name

-- name: change_state
-- What an entry was before goes into its history.
with kept as (
    insert into entry_versions
           (list_id, handle, superseded_by, id, sealed, record, state, reason, valid_from, valid_until, changed)
    select list_id, handle, $6, id, sealed, record, state, reason, valid_from, valid_until, changed
    from entries where list_id = $7 and handle = any($1::bytea[])
)
update entries e
set sealed = n.sealed, record = n.record, state = $4, reason = $5, changed = $6
from unnest($1::bytea[], $2::bytea[], $3::bytea[]) as n (handle, sealed, record)
where e.list_id = $7 and e.handle = n.handle

-- name: settle_import
-- The last row of an import that names a handle counts. What stands there decides what becomes of it; what had ended
-- when the row's term began, and is only not withdrawn yet, says nothing that could be the same.
create temporary table settled on commit drop as
select n.handle, n.line, n.content, n.valid_from,
       case when e.id is null then 'new'
            else import_effect(
                e.state, e.reason, case when e.valid_until > n.valid_from then e.content end, n.content, $2
            )
       end as effect,
       false as late
from (
    select distinct on (handle) handle, line, content, valid_from from incoming order by handle, line desc
) as n
left join entries e on e.list_id = $1 and e.handle = n.handle

-- name: settle_missing
-- What is listed, and not named by an import that is the whole list. A dispute ends by a decision, not by a file.
insert into settled (handle, effect, late)
select e.handle, case when e.state = 'disputed' then 'missing_disputed' else 'missing' end, false
from entries e
where e.list_id = $1 and e.state <> 'withdrawn'
  and not exists (select from settled s where s.handle = e.handle)

-- name: settle_again
-- The same of what was changed from number $2 to number $3, after the others were settled: nothing new is among it.
with changed as (
    select handle, state, reason, content, valid_until
    from entries where list_id = $1 and changed > $2 and changed <= $3
), former as (
    delete from settled s using changed c where s.handle = c.handle returning s.handle, s.line, s.content, s.valid_from
)
insert into settled (handle, line, content, valid_from, effect, late)
select c.handle, f.line, f.content, f.valid_from,
       case when f.line is null then case when c.state = 'disputed' then 'missing_disputed' else 'missing' end
            else import_effect(
                c.state, c.reason, case when c.valid_until > f.valid_from then c.content end, f.content, $4
            )
       end,
       true
from changed c
left join former f on f.handle = c.handle
where f.line is not null or ($5 and c.state <> 'withdrawn')

-- name: index_settled
create index on settled (handle)

-- name: late_to_write
select exists (select from settled where late and effect in ('missing', 'replaced', 'relisted'))

-- name: count_import
-- Of so many rows.
select count(*) filter (where effect = 'new') as new,
       count(*) filter (where effect = 'replaced') as replaced,
       count(*) filter (where effect = 'relisted') as relisted,
       count(*) filter (where effect = 'same') as same,
       count(*) filter (where effect = 'disputed') as disputed,
       count(*) filter (where effect = 'barred') as barred,
       $1 - count(line) as repeated,
       count(*) filter (where effect = 'missing') as withdrawn,
       count(*) filter (where effect = 'missing_disputed') as missing_disputed
from settled

-- name: missing
-- Here as in the next ones: what was changed after a number is settled again, and then is `late`.
select e.*
from settled s
join entries e on e.list_id = $1 and e.handle = s.handle
where s.effect = 'missing' and s.late = $3 and e.changed <= $2
order by e.id
for no key update of e

-- name: keep_former
insert into entry_versions
       (list_id, handle, superseded_by, id, sealed, record, state, reason, valid_from, valid_until, changed)
select e.list_id, e.handle, $2, e.id, e.sealed, e.record, e.state, e.reason, e.valid_from, e.valid_until, e.changed
from settled s
join entries e on e.list_id = $1 and e.handle = s.handle
where s.effect in ('replaced', 'relisted') and s.late = $4 and e.changed <= $3

-- name: forget_former
-- What was kept of entries that others have changed since.
delete from entry_versions v using settled s
where s.late and v.list_id = $1 and v.handle = s.handle and v.superseded_by = $2

-- name: write_import
insert into entries
       (id, list_id, handle, sealed, record, content, state, reason, valid_from, valid_until, changed, case_handle)
select n.id, $1, n.handle, n.sealed, n.record, n.content, 'active', null, n.valid_from, n.valid_until, $2, n.case_handle
from settled s
join incoming n on n.line = s.line
where s.effect = any($5::text[]) and s.late = $4
order by n.handle
on conflict (list_id, handle) do update
set id = excluded.id, sealed = excluded.sealed, record = excluded.record, content = excluded.content,
    state = 'active', reason = null, valid_from = excluded.valid_from, valid_until = excluded.valid_until,
    changed = excluded.changed, case_handle = excluded.case_handle
where entries.changed <= $3

-- name: rules_since
select exists (select from never_rules where number > $1)

-- name: standing
select handle, state, reason, content, valid_until from entries where list_id = $1 and handle = any($2::bytea[])

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
