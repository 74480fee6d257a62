-- Imports under way: what they have taken in, what was wrong, and how a list's columns are called.
-- `incoming` stands for the table of one import, import_rows_NUMBER.

-- name: try_lock
select pg_try_advisory_lock($1, $2)

-- name: unlock
select pg_advisory_unlock_all()

-- name: resumable
-- What was cut off goes on; what was refused is decided otherwise for a short time only.
select id, number, state = 'refused' as refused from imports
where list_id = $1 and fingerprint = $2 and never_upto = $3
  and (began_at > $4 and state in ('reading', 'read') or began_at > $5 and state = 'refused')
order by number desc limit 1

-- name: has_ended
select exists (select from incoming where valid_until <= $1)

-- name: begin
insert into imports (id, list_id, fingerprint, format, author, mode, began_at, never_upto, size, saved_mapping)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
returning number

-- name: make_rows
create table incoming (like import_rows_pattern including storage) with (autovacuum_enabled = false)

-- name: drop_rows
drop table if exists incoming

-- name: take_up
update imports set state = case when state = 'refused' then 'read' else state end, author = $2, mode = $3, code = null,
                   saved_mapping = $4, changed_at = clock_timestamp()
where id = $1

-- name: superseded
select id from imports where list_id = $1 and id <> $2 and state in ('reading', 'read', 'refused')

-- name: refused
select id from imports where state = 'refused'

-- name: unfinished
select i.id, l.name from imports i join lists l on l.id = i.list_id where i.state in ('reading', 'read') order by number

-- name: stale
select id, number from imports where changed_at < $1 and state in ('reading', 'read', 'refused')

-- name: one
select i.*, exists (
    select from pg_locks
    where locktype = 'advisory' and granted and classid::bigint = $2 and objid::bigint = i.number and objsubid = 2
      and database = (select oid from pg_database where datname = current_database())
) as running
from imports i
where i.id = $1

-- name: of_list
select i.*, exists (
    select from pg_locks
    where locktype = 'advisory' and granted and classid::bigint = $2 and objid::bigint = i.number and objsubid = 2
      and database = (select oid from pg_database where datname = current_database())
) as running
from imports i
where i.list_id = $1
order by i.number desc
limit $3

-- name: move
update imports set place = $2, line = $3, rows = rows + $4, good = good + $5, bad = $6, changed_at = clock_timestamp()
where id = $1 and state = 'reading'

-- name: read
update imports set state = 'read', changed_at = clock_timestamp() where id = $1 and state in ('reading', 'read')

-- name: hold
select 1 from imports where id = $1 and state in ('read', 'refused') for no key update

-- name: end
update imports set state = $2, counts = $3, code = $4, changed_at = clock_timestamp()
where id = $1 and state = any($5::text[])
returning number

-- name: faults
select f.line, f.column_name, f.code, f.expected, f.suggestion
from import_faults f join imports i on i.number = f.import
where i.id = $1 and f.line > $2
order by f.line
limit $3

-- name: forget_faults
delete from import_faults where ctid = any(array(
    select f.ctid from import_faults f join imports i on i.number = f.import
    where i.changed_at < $1 and i.state in ('committed', 'cancelled')
    limit $2
))

-- name: repeated
select line, last from (select line, max(line) over (partition by handle) as last from incoming) as all_rows
where line < last
order by line

-- name: give_way
-- End what a session does if another one waits for an entry that it has written: such a one holds a lock on the place
-- of the entry, and waits for the end of the transaction.
select pg_cancel_backend($1)
where exists (
    select from pg_locks w
    join pg_locks place on place.pid = w.pid and place.locktype = 'tuple' and place.relation in (select relid from pg_partition_tree('entries'))
    where w.locktype = 'transactionid' and not w.granted and $1 = any(pg_blocking_pids(w.pid))
)

-- name: is_short
-- Of a file that replaces its list, all that stands there may be written too.
select (select count(*) <= $2 from (select from incoming limit $2 + 1) as first_rows)
   and (not $3 or (select listed <= $2 from lists where id = $1))

-- name: analyze_import
analyze incoming

-- name: count_rows
select count(*) from incoming

-- name: count_distinct
select count(*), count(distinct handle) from incoming

-- name: mapping
select type, column_name, region, fields, author, saved_at from list_mappings where list_id = $1

-- name: save_mapping
insert into list_mappings (list_id, type, column_name, region, fields, author) values ($1, $2, $3, $4, $5, $6)
on conflict (list_id) do update
set type = excluded.type, column_name = excluded.column_name, region = excluded.region, fields = excluded.fields,
    author = excluded.author, saved_at = clock_timestamp()
