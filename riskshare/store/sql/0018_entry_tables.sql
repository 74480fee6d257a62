-- The entries of each list lie in a table of their own, which the rows of its first import become as they lie there.
-- What there is stays where it lies, as the table of all lists that have entries by now.
-- The checks of a part must be called as those of the whole.

alter table entries rename to entries_former;
drop trigger data_key_of_entries on entries_former;
alter table entries_former drop constraint entries_pkey;
alter table entries_former drop constraint entries_list_id_handle_key;
alter index entries_by_change rename to entries_former_by_change;
alter index entries_by_expiry rename to entries_former_by_expiry;
alter index entries_by_case rename to entries_former_by_case;
alter index entries_withdrawn rename to entries_former_withdrawn;

create table entries (
    id uuid not null,
    -- No foreign key: every writer of entries holds the lock of the list's row, and lists are not deleted.
    list_id integer not null,
    handle bytea not null constraint entries_handle_check check (length(handle) = 32),
    sealed bytea not null,
    record bytea not null,
    content bytea not null constraint entries_content_check check (length(content) between 1 and 32),
    state text not null constraint entries_state_check check (state in ('active', 'disputed', 'withdrawn')),
    reason text constraint entries_check check ((reason is not null) = (state = 'withdrawn')),
    valid_from timestamptz not null,
    valid_until timestamptz not null constraint entries_check1 check (valid_until > valid_from),
    changed bigint not null constraint entries_changed_check check (changed > 0),
    -- Keyed hash of the record's case reference, so that a case's entries are found without opening any.
    case_handle bytea constraint entries_case_handle_check check (length(case_handle) = 32),
    primary key (list_id, handle)
) partition by list (list_id);
alter table entries alter column sealed set storage external;
create index entries_by_change on entries (list_id, changed);
create index entries_by_expiry on entries (list_id, valid_until) where state <> 'withdrawn';
create index entries_by_case on entries (list_id, case_handle) where case_handle is not null;
create index entries_withdrawn on entries (list_id, changed)
    where state = 'withdrawn' and reason <> 'replaced' and reason <> 'expired';
create trigger data_key_of_entries before insert or update of handle, sealed, case_handle on entries
    for each statement execute function require_data_key();

do $$
    declare
        held text := (
            select string_agg(distinct list_id::text, ', ') from entries_former
        );
    begin
        if held is null then
            drop table entries_former;
        else
            alter table entries_former add primary key (list_id, handle);
            execute format('alter table entries attach partition entries_former for values in (%s)', held);
        end if;
    end
$$;
