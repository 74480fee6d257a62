-- What auditors asked to see: requests to this member, its own to others, and its own looks into its records for a data
-- subject. Both sides keep a request before anything is shown.

create table audits (
    digest bytea primary key check (length(digest) = 32),
    statement bytea not null,
    signature bytea not null check (length(signature) = 64),
    salt bytea not null check (length(salt) = 16),
    auditor text not null,
    member text not null,
    action text not null check (action in ('read', 'open', 'prove', 'tell')),
    -- How many checks, or exchanges to be proved, it names: the registry says how many an auditor may name a day.
    checks integer not null check (checks >= 0),
    kept_at timestamptz not null
);
create index audits_by_time on audits (kept_at);

-- What is shown to an auditor whenever it was made (`audit.page.STANDING`).
create index ledger_entries_standing on ledger_entries (index) where kind in ('epoch', 'registry');

-- Where the part of the log begins and ends that is shown for a period.
create index ledger_checkpoints_by_finality on ledger_checkpoints (final_at) where final_at is not null;
create index ledger_checkpoints_by_signing on ledger_checkpoints (signed_at) where final_at is not null;
