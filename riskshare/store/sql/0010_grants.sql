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
