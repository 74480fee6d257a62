-- How far the search for receipts has come that a crash made this querier forget: of what the owner kept before `upto`
-- nothing is missing here. A row stands from the start of a search to its end.
create table adoptions (
    owner text primary key,
    upto timestamptz not null
);
