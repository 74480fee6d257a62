-- Imports that go on where they stopped.

-- An import under way, and what became of it. `fingerprint` is a keyed hash of the file and of all that decides what
-- its rows become; `place` is where reading goes on; `rows`, `good` and `bad` count what is behind it.
create table imports (
    id uuid primary key,
    number integer generated always as identity unique,
    list_id integer not null references lists,
    fingerprint bytea not null check (length(fingerprint) = 32),
    format text not null,
    author text not null check (author <> ''),
    state text not null default 'reading' check (state in ('reading', 'read', 'committed', 'refused', 'cancelled')),
    mode text not null check (mode in ('add', 'replace')),
    began_at timestamptz not null,
    changed_at timestamptz not null default clock_timestamp(),
    never_upto bigint not null,
    place bigint not null default 0,
    line bigint not null default 0,
    rows bigint not null default 0,
    good bigint not null default 0,
    bad jsonb not null default '{}',
    size bigint not null,
    counts jsonb,
    code text
);
create index imports_by_list on imports (list_id, number);

create table import_faults (
    import integer not null references imports (number) on delete cascade,
    line bigint not null,
    column_name text not null,
    code text not null,
    expected text not null,
    suggestion text not null,
    primary key (import, line)
);

-- The pattern of the tables import_rows_NUMBER, one for each import that is neither committed nor cancelled. They are
-- made with the import and dropped with its end, in one transaction with it.
create table import_rows_pattern (
    line bigint not null,
    id uuid not null,
    handle bytea not null,
    sealed bytea not null,
    record bytea not null,
    content bytea not null,
    valid_from timestamptz not null,
    valid_until timestamptz not null,
    case_handle bytea
);
alter table import_rows_pattern alter column sealed set storage external;

-- How the columns of a list's files are called, from its last import that said so.
create table list_mappings (
    list_id integer primary key references lists,
    type text not null,
    column_name text not null,
    region text not null,
    fields jsonb not null,
    author text not null,
    saved_at timestamptz not null default clock_timestamp()
);

-- Checking it took a third of the time of writing an entry, and said less than the lock of the list's row, which every
-- writer of entries holds; lists are not deleted.
alter table entries drop constraint entries_list_id_fkey;
