-- The table of a list's entries. PART stands for it, `incoming` for that of an import's rows, NUMBER for the list's id,
-- CHANGED for the number of the change that brings them.

-- name: has_table
-- Its own, or that of all lists of before.
select to_regclass('entries_' || $1::integer) is not null or exists (select from entries where list_id = $1)

-- name: make
-- Attached afterwards: to make a table as a part of another one, PostgreSQL keeps all others from that.
create table PART (like entries including constraints including storage)

-- name: attach
alter table entries attach partition PART for values in (NUMBER)

-- name: may_write
-- No row, yet its triggers hold the session's data key against that of the database.
insert into entries select * from entries where false

-- name: count_rows
select count(*) from incoming

-- name: make_ordered
create table incoming_ordered (like import_rows_pattern including storage) with (autovacuum_enabled = false)

-- name: write_ordered
-- The last row of each handle counts.
insert into incoming_ordered select distinct on (handle) * from incoming order by handle, line desc

-- name: drop_rows
drop table incoming

-- name: rename_ordered
alter table incoming_ordered rename to incoming

-- name: rename
alter table incoming rename to PART

-- name: complete
-- Constants for all rows there are: nothing is written.
alter table PART
    reset (autovacuum_enabled),
    drop column line,
    add column list_id integer not null default NUMBER,
    add column state text not null default 'active',
    add column reason text,
    add column changed bigint not null default CHANGED

-- name: constrain
-- As `entries` has them, and that of the part: so `attach` need not read the rows.
alter table PART
    alter column list_id drop default,
    alter column state drop default,
    alter column changed drop default,
    add constraint entries_handle_check check (length(handle) = 32),
    add constraint entries_content_check check (length(content) between 1 and 32),
    add constraint entries_state_check check (state in ('active', 'disputed', 'withdrawn')),
    add constraint entries_check check ((reason is not null) = (state = 'withdrawn')),
    add constraint entries_check1 check (valid_until > valid_from),
    add constraint entries_changed_check check (changed > 0),
    add constraint entries_case_handle_check check (length(case_handle) = 32),
    add constraint entries_of_one_list check (list_id is not null and list_id = NUMBER)

-- name: index_by_handle
alter table PART add primary key (list_id, handle)

-- name: index_by_change
create index PART_by_change on PART (list_id, changed)

-- name: index_by_expiry
create index PART_by_expiry on PART (list_id, valid_until) where state <> 'withdrawn'

-- name: index_by_case
create index PART_by_case on PART (list_id, case_handle) where case_handle is not null

-- name: index_withdrawn
create index PART_withdrawn on PART (list_id, changed) where state = 'withdrawn' and reason <> 'replaced' and reason <> 'expired'

-- name: analyze
-- What look-ups need to know; without it they would read all of the table until PostgreSQL comes to it by itself.
analyze PART (list_id, handle, state, valid_until, changed)

-- name: release
alter table PART drop constraint entries_of_one_list
