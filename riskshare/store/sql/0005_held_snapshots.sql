-- A fork of a list that was shown at an older version is found as well: older statements of others are kept, too.

-- Snapshot statements of others, of open lists, by what they are about: members tell one another which they hold, in
-- the order of `seq`. Of older versions ever fewer are kept.
create table held_snapshots (
    key bytea primary key check (length(key) = 32),
    seq bigint generated always as identity unique,
    digest bytea not null check (length(digest) = 32),
    list_name text not null,
    epoch bytea not null check (length(epoch) = 32),
    version bigint not null check (version > 0),
    wire bytea not null,
    signer bytea not null check (length(signer) = 32),
    received_at timestamptz not null
);
create index held_snapshots_by_digest on held_snapshots (digest);
create index held_snapshots_by_version on held_snapshots (list_name, epoch, version);
