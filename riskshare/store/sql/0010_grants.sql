-- Lists for named members, and the rotation of the data key.

-- Open to all members, or under grants: decided when the list is made. A list under grants is alone in its keyset.
alter table lists add column granted boolean not null default false;
create unique index lists_under_grants on lists (keyset) where granted;

-- Who may know of a list under grants: of each member the newest row counts. No purposes: all that the registry allows.
create table grants (
    id bigint generated always as identity primary key,
    list_id integer not null references lists,
    member text not null check (member <> ''),
    purposes text[] not null,
    until timestamptz,
    granted_at timestamptz not null default clock_timestamp(),
    author text not null,
    revoked_at timestamptz,
    revoked_by text check ((revoked_by is null) = (revoked_at is null))
);
create unique index grants_in_force on grants (list_id, member) where revoked_at is null;

-- The data key that rows are sealed under. `fingerprint` names it; while it is rotated, `next` names the one that they
-- are being sealed under. At most one row; none before the first program with keys came.
create table data_keys (
    one boolean primary key default true check (one),
    number integer not null default 1 check (number > 0),
    fingerprint bytea not null check (length(fingerprint) = 32),
    next bytea check (length(next) = 32 and next <> fingerprint),
    since timestamptz not null default clock_timestamp()
);

-- Nobody writes under another data key: a session says which one it has. Whoever writes holds the row, so that a
-- rotation does not begin meanwhile. A session that names no key is not one that seals anything.
create function require_data_key() returns trigger language plpgsql
    as $$
        declare
            stands data_keys;
            mine text := nullif(current_setting('riskshare.data_key', true), '');
        begin
            select * into stands from data_keys for share;
            if found and mine <> encode(coalesce(stands.next, stands.fingerprint), 'hex') then
                raise exception 'another data key'
                    using errcode = case when stands.next is null then 'RS001' else 'RS002' end;
            end if;
            return null;
        end
    $$;

create trigger data_key_of_entries before insert or update of handle, sealed, case_handle on entries
    for each statement execute function require_data_key();
create trigger data_key_of_versions before insert or update on entry_versions
    for each statement execute function require_data_key();
create trigger data_key_of_rules before insert or update on never_rules
    for each statement execute function require_data_key();
create trigger data_key_of_epochs before insert or update of secret_sealed on epochs
    for each statement execute function require_data_key();
