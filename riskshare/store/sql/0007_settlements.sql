-- What two members owe each other, signed by both; and whom an upheld appeal concerns.

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
