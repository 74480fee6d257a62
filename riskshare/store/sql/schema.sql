-- The whole schema as it is now. A test proves that the migrations lead to exactly this.
--
-- No column holds an identifier in the clear: `entries.sealed` and `checks.record` are ciphertext, handles are
-- keyed hashes, elements are blinded. Columns that do not compress are stored EXTERNAL, so that
-- PostgreSQL does not try.

create table migrations (
    version integer primary key,
    name text not null,
    applied_at timestamptz not null default clock_timestamp()
);

-- The owner's lists ---------------------------------------------------------------------------------------------

create table lists (
    id integer generated always as identity primary key,
    name text not null unique check (name <> ''),
    category text not null,
    keyset text not null,
    created_at timestamptz not null default clock_timestamp(),
    -- Counts the changes of this list. Whoever changes entries raises it first, and so holds
    -- the row's lock until the commit: numbers become visible in their order.
    changed bigint not null default 0,
    -- Open to all members, or under grants: decided when the list is made. A list under grants is alone in its keyset.
    granted boolean not null default false,
    -- Entries that stand on it, all but withdrawn ones: what its changes come to.
    listed bigint not null default 0
);
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

-- The entries of each list lie in a table of their own, entries_NUMBER, from its first entries on: made of the rows of
-- its first import as they lie there (`entry_tables`), and so its checks have names.
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
    code text,
    -- The list's saved mapping that it has read its columns by; null: it was told by itself how they are called.
    saved_mapping jsonb
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

-- What a row of an import does to the entry that stands there; withdrawn for one of the `barred` reasons it stays off.
create function import_effect(state text, reason text, standing bytea, coming bytea, barred text[]) returns text
    language sql immutable parallel safe
    as $$
        select case
            when state = 'disputed' then 'disputed'
            when state = 'withdrawn' then case when reason = any(barred) then 'barred' else 'relisted' end
            when standing = coming then 'same'
            else 'replaced'
        end
    $$;

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

create table canaries (
    list_id integer not null references lists,
    value text not null,
    primary key (list_id, value)
);

create table epochs (
    digest bytea primary key check (length(digest) = 32),
    keyset text not null,
    number integer not null check (number > 0),
    statement bytea not null,
    signature bytea not null check (length(signature) = 64),
    salt bytea not null check (length(salt) = 16),
    secret_sealed bytea not null,
    not_before timestamptz not null,
    not_after timestamptz not null check (not_after > not_before),
    ended_at timestamptz,
    unique (keyset, number),
    -- The emergency statement that ended it.
    end_statement bytea,
    end_signature bytea check (length(end_signature) = 64),
    end_salt bytea check (length(end_salt) = 16)
);

create table snapshots (
    list_id integer not null references lists,
    epoch bytea not null references epochs,
    version bigint not null check (version > 0),
    digest bytea not null check (length(digest) = 32),
    statement bytea not null,
    signature bytea not null check (length(signature) = 64),
    salt bytea not null check (length(salt) = 16),
    issued_at timestamptz not null,
    expires_at timestamptz not null check (expires_at > issued_at),
    changed bigint not null check (changed >= 0),
    segments bytea[] not null,
    -- Up to which change it shows the withdrawals that do not wait for a larger change.
    withdrawn bigint not null constraint snapshots_withdrawn_check check (withdrawn >= changed),
    primary key (list_id, epoch, version)
);
create index snapshots_by_digest on snapshots (digest);

create table segments (
    file_digest bytea primary key check (length(file_digest) = 32),
    list_id integer not null references lists,
    epoch bytea not null references epochs,
    header_digest bytea not null check (length(header_digest) = 32),
    header_length integer not null check (header_length > 0),
    file_length bigint not null check (file_length >= header_length),
    kind text not null check (kind in ('base', 'delta')),
    created_at timestamptz not null
);

-- The newest catalogue of each reader; whichever process a reader comes to serves this one.
create table catalogue_versions (
    reader text primary key,
    version bigint not null check (version > 0),
    content bytea not null,
    issued_at timestamptz not null,
    statement bytea not null,
    signature bytea not null
);

-- The data key ------------------------------------------------------------------------------------------------

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

-- What a subscriber trusts --------------------------------------------------------------------------------------

create table catalogues (
    owner text primary key,
    version bigint not null check (version > 0),
    statement bytea not null,
    signature bytea not null check (length(signature) = 64),
    received_at timestamptz not null
);

create table epoch_statements (
    digest bytea primary key check (length(digest) = 32),
    owner text not null,
    keyset text not null,
    number integer not null check (number > 0),
    statement bytea not null,
    signature bytea not null check (length(signature) = 64),
    salt bytea not null check (length(salt) = 16),
    received_at timestamptz not null,
    unique (owner, keyset, number)
);

create table trusted (
    owner text not null,
    list_name text not null,
    revision bigint not null check (revision > 0),
    state bytea not null,
    updated_at timestamptz not null,
    primary key (owner, list_name)
);

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

create table fraud_proofs (
    id bigint generated always as identity primary key,
    kind text not null,
    accused text not null,
    about bytea not null check (length(about) = 32),
    evidence bytea not null,
    found_at timestamptz not null,
    unique (kind, about)
);

create table registry_versions (
    version bigint primary key check (version > 0),
    digest bytea not null check (length(digest) = 32),
    file bytea not null,
    received_at timestamptz not null,
    -- Drawn here: 16 bytes out of 244 random bits.
    salt bytea not null
        default substr(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 1, 16)
        check (length(salt) = 16)
);

-- Exchanges: what both sides keep of every ask and every check ---------------------------------------------------
-- `seq` is the order of keeping. The ledger takes its leaves from here by it. Two workers may commit
-- out of the order of `seq`: whoever walks it must not take a gap for the end.
-- These tables have no check constraints: PostgreSQL prepares them anew for each statement, which
-- costs a commit 20 microseconds; the values are checked when a receipt or a check is made.
-- The types carry the rows of a group commit: one array of each.

create type kept_receipt as (
    counterparty text,
    batch uuid,
    epoch bytea,
    count integer,
    receipt bytea,
    elements bytea,
    evaluated bytea,
    proof bytea,
    salt bytea,
    adopted boolean
);

create type open_ask as (
    owner text,
    batch uuid,
    epoch bytea,
    count integer,
    ask bytea,
    ask_signature bytea,
    elements bytea,
    salt bytea
);

create type kept_check as (
    id uuid,
    answered_at timestamptz,
    hour_key uuid,
    record bytea,
    statement bytea,
    signature bytea,
    salt bytea
);

create type kept_hour_key as (
    id uuid,
    hour timestamptz,
    sealed bytea
);

create type kept_response as (
    api_key text,
    key_digest bytea,
    request_digest bytea,
    response bytea
);

create table receipts (
    side text not null,
    counterparty text not null,
    batch uuid not null,
    id bytea not null,
    epoch bytea not null,
    count integer not null,
    receipt bytea not null,
    elements bytea not null,
    evaluated bytea not null,
    proof bytea not null,
    salt bytea not null,
    adopted boolean not null,
    recorded_at timestamptz not null default clock_timestamp(),
    seq bigint generated always as identity,
    primary key (side, counterparty, batch)
) with (toast_tuple_target = 8160);
alter table receipts alter column receipt set storage external;
alter table receipts alter column elements set storage external;
alter table receipts alter column evaluated set storage external;
create index receipts_by_id on receipts (id);
-- Quotas of a day or an epoch are summed from this index alone. `side` does not lead: planned over an empty table,
-- a look-up by the primary key would else walk one side of this index.
create index receipts_by_time on receipts (recorded_at) include (side, counterparty, count, epoch);
create index receipts_of_queriers on receipts (counterparty, seq) where side = 'owner';

create table unanswered (
    owner text not null,
    batch uuid not null,
    epoch bytea not null,
    count integer not null,
    ask bytea not null,
    ask_signature bytea not null,
    elements bytea not null,
    salt bytea not null,
    asked_at timestamptz not null default clock_timestamp(),
    seq bigint generated always as identity,
    -- Since when it is not sent again: refused for good, or too old. A receipt that comes all the same takes it away.
    closed_at timestamptz,
    primary key (owner, batch)
) with (toast_tuple_target = 8160);
alter table unanswered alter column elements set storage external;
create index unanswered_open on unanswered (owner, seq) where closed_at is null;

-- How far the search for receipts has come that a crash made this querier forget: of what the owner kept before `upto`
-- nothing is missing here. A row stands from the start of a search to its end.
create table adoptions (
    owner text primary key,
    upto timestamptz not null
);

create table hour_keys (
    id uuid primary key,
    hour timestamptz not null,
    sealed bytea not null
);

create table checks (
    id uuid primary key,
    answered_at timestamptz not null,
    hour_key uuid not null,
    record bytea not null,
    statement bytea not null,
    signature bytea not null,
    salt bytea not null,
    seq bigint generated always as identity
) with (toast_tuple_target = 8160);
alter table checks alter column record set storage external;

create table idempotency (
    api_key text not null,
    key_digest bytea not null,
    request_digest bytea not null,
    -- Sealed; null while the request is being worked on.
    response bytea,
    started_at timestamptz not null default clock_timestamp(),
    primary key (api_key, key_digest)
);
alter table idempotency alter column response set storage external;
create index idempotency_by_time on idempotency (started_at);

-- The ledger: this member's log, what it saw of the others' as their witness, and what they account for -----------

-- The 32 bytes that stand in the log for a statement; the functions are inlined where they are called.
create function ledger_entry(salt bytea, kind text, statement bytea) returns bytea language sql stable parallel safe
    as $$ select sha256(salt || convert_to(kind || E'\n', 'UTF8') || statement) $$;

-- The statement in a file `{"signatures":[…],"statement":…}`: no signature has such a text in it.
create function registry_statement(file bytea) returns bytea language sql immutable parallel safe
    as $$
        select substring(file from at + 14 for greatest(length(file) - at - 14, 0))
        from (select position('],"statement":'::bytea in file) as at) as found
    $$;

-- What is kept and not yet in the log: a row in the same statement that keeps the thing itself. It has no index and no
-- check, for every exchange pays for it; whatever is in the log is deleted.
create table ledger_pending (
    kind text not null,
    source bytea not null,
    entry bytea not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);

-- Which entry of the log stands for what is kept. `source` is the id of a receipt (32 bytes) or check (16), the batch
-- of an unanswered ask (16), the digest of the statement of a snapshot, epoch, end of an epoch or registry (32).
create table ledger_entries (
    index bigint primary key check (index >= 0),
    kind text not null,
    source bytea not null,
    unique (kind, source)
);
-- What is shown to an auditor whenever it was made (`audit.page.STANDING`).
create index ledger_entries_standing on ledger_entries (index) where kind in ('epoch', 'registry');

-- The widest tile and bundle at each place, as they are served.
create table ledger_tiles (
    level smallint not null,
    index bigint not null,
    width smallint not null check (width between 1 and 256),
    hashes bytea not null check (length(hashes) = 32 * width),
    primary key (level, index)
) with (toast_tuple_target = 8160);
alter table ledger_tiles alter column hashes set storage external;

create table ledger_bundles (
    index bigint primary key,
    width smallint not null check (width between 1 and 256),
    entries bytea not null check (length(entries) = 34 * width)
) with (toast_tuple_target = 8160);
alter table ledger_bundles alter column entries set storage external;

-- What this log signed. The greatest size is its head; a note grows by the cosignatures of witnesses.
create table ledger_checkpoints (
    size bigint primary key check (size >= 0),
    root bytea not null check (length(root) = 32),
    note bytea not null,
    signed_at timestamptz not null,
    final_at timestamptz
);
create index ledger_checkpoints_final on ledger_checkpoints (size) where final_at is not null;
-- Where the part of the log begins and ends that is shown to an auditor for a period.
create index ledger_checkpoints_by_finality on ledger_checkpoints (final_at) where final_at is not null;
create index ledger_checkpoints_by_signing on ledger_checkpoints (signed_at) where final_at is not null;

-- At most one row: with it, this log signs nothing more.
create table ledger_state (
    one boolean primary key default true check (one),
    halted_code text not null,
    halted_why text not null,
    halted_at timestamptz not null default clock_timestamp()
);

-- The latest checkpoint that this member cosigned of each log.
create table ledger_witnessed (
    origin text primary key,
    size bigint not null check (size >= 0),
    root bytea not null check (length(root) = 32),
    note bytea not null,
    at timestamptz not null
);

-- A counterparty's own entry for what concerns us, verified: so each side knows that the other has accounted.
create table ledger_accounts (
    member text not null,
    kind text not null,
    source bytea not null,
    index bigint not null check (index >= 0),
    salt bytea not null check (length(salt) = 16),
    proof bytea not null,
    size bigint not null check (size > index),
    received_at timestamptz not null,
    primary key (member, kind, source)
);

-- What this member knows of another's log: the next entry to ask for, and the newest checkpoint verified.
create table ledger_followed (
    member text primary key,
    next_index bigint not null check (next_index >= 0),
    size bigint not null check (size >= 0),
    root bytea not null check (length(root) = 32),
    note bytea not null,
    latest_size bigint not null check (latest_size >= 0),
    grown_at timestamptz not null,
    -- Since when a receipt of ours waits for that log to grow, and since when that has lasted too long.
    waiting_since timestamptz,
    stalled_since timestamptz
);

-- What counterparties have not accounted for in time: few, or the members concerned are told. `asked` counts how
-- often it was asked for.
create table ledger_awaited (
    member text not null,
    kind text not null,
    source bytea not null,
    since timestamptz not null,
    asked integer not null default 0,
    primary key (member, kind, source)
);

-- Receipts kept before `upto` are accounted for, or awaited. At most one row.
create table ledger_awaited_upto (
    one boolean primary key default true check (one),
    upto timestamptz not null
);

-- Audits -----------------------------------------------------------------------------------------------------------

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

-- Settlements: what two members owe each other, signed by both --------------------------------------------------------

-- The time in the answer of a receipt, and the registry version in its ask: `"answered_at"` is the first key of the one,
-- `"registry"` stands before any text of the other that could hold such letters, and both with quotes of their own.
create function receipt_answered_at(receipt bytea) returns text language sql immutable parallel safe
    as $$
        select encode(substring(receipt from position('{"answered_at":"'::bytea in receipt) + 16 for 24), 'escape')
    $$;

create function receipt_registry(receipt bytea) returns bigint language sql immutable parallel safe
    as $$
        select substring(
            encode(substring(receipt from position(',"registry":'::bytea in receipt) + 12 for 17), 'escape')
            from '^[0-9]+'
        )::bigint
    $$;

-- A row stands from when both have signed: one statement for another member and a period, and no two periods overlap.
create table settlements (
    digest bytea primary key check (length(digest) = 32),
    other text not null,
    opened timestamptz not null,
    closed timestamptz not null check (closed > opened),
    statement bytea not null,
    -- In the order of the members' names.
    first_signature bytea not null check (length(first_signature) = 64),
    second_signature bytea not null check (length(second_signature) = 64),
    -- Drawn here: 16 bytes out of 244 random bits.
    salt bytea not null
        default substr(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 1, 16)
        check (length(salt) = 16),
    agreed_at timestamptz not null default clock_timestamp(),
    unique (other, opened)
);

-- Labels that owners withdrew because an appeal was upheld, as this member saw it in their lists: an owner's next base
-- does not say so any more. With the hits that are kept they say whom to notify.
create table upheld_appeals (
    list_name text not null,
    epoch bytea not null check (length(epoch) = 32),
    label bytea not null check (length(label) = 16),
    seen_at timestamptz not null default clock_timestamp(),
    primary key (list_name, epoch, label)
);
