-- Changes, history, never-list, case references of the life of a list.

-- What was done to a list: one row for each number of `lists.changed`. Written with the entries, in one transaction.
create table list_changes (
    list_id integer not null references lists,
    number bigint not null check (number > 0),
    at timestamptz not null default clock_timestamp(),
    author text not null check (author <> ''),
    action text not null check (action in (
        'import', 'replace', 'upsert', 'withdraw', 'dispute', 'restore', 'expire', 'never', 'rotate'
    )),
    reason text not null,
    import_id uuid,
    added bigint not null default 0,
    replaced bigint not null default 0,
    relisted bigint not null default 0,
    withdrawn bigint not null default 0,
    disputed bigint not null default 0,
    restored bigint not null default 0,
    primary key (list_id, number)
);
create index list_changes_by_time on list_changes (list_id, at);

-- What was done before is not known any more, only what stands. Sizes count from here.
insert into list_changes (list_id, number, author, action, reason, added)
select l.id, l.changed, 'peer', 'import', 'before changes were kept', count(e.id) filter (where e.state <> 'withdrawn')
from lists l
left join entries e on e.list_id = l.id
where l.changed > 0
group by l.id;

-- What an entry was before the change `superseded_by`, sealed as it was then.
create table entry_versions (
    list_id integer not null references lists,
    handle bytea not null check (length(handle) = 32),
    superseded_by bigint not null,
    id uuid not null,
    sealed bytea not null,
    record bytea not null,
    state text not null,
    reason text,
    valid_from timestamptz not null,
    valid_until timestamptz not null,
    changed bigint not null,
    primary key (list_id, handle, superseded_by)
);
alter table entry_versions alter column sealed set storage external;

-- Keyed hash of the record's case reference, so that a case's entries are found without opening any.
alter table entries add column case_handle bytea check (length(case_handle) = 32);
create index entries_by_case on entries (list_id, case_handle) where case_handle is not null;

-- What may stand on no list. An exact identifier is kept as a keyed hash and sealed; a pattern as it is.
create table never_rules (
    number bigint generated always as identity primary key,
    kind text not null check (kind in ('exact', 'prefix', 'range')),
    type text not null,
    pattern text check ((pattern is null) = (kind = 'exact')),
    handle bytea check (length(handle) = 32),
    sealed bytea,
    row uuid,
    note text not null,
    author text not null,
    at timestamptz not null default clock_timestamp(),
    unique (handle),
    unique (type, kind, pattern),
    check ((handle is null) = (kind <> 'exact') and (sealed is null) = (kind <> 'exact')
           and (row is null) = (kind <> 'exact'))
);

-- The newest snapshot of each list and epoch that a member said it holds; `changed` as in that snapshot.
create table list_readers (
    reader text not null,
    list_id integer not null references lists,
    epoch bytea not null check (length(epoch) = 32),
    version bigint not null,
    changed bigint not null,
    at timestamptz not null,
    primary key (list_id, reader, epoch)
);
