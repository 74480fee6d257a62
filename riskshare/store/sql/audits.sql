-- What auditors asked to see, and what is shown to them.

-- name: lock
-- One request is counted at a time; it ends with the transaction.
select pg_advisory_xact_lock($1, $2)

-- name: named
select coalesce(sum(checks), 0)::bigint from audits
where auditor = $1 and member = $2 and action = $3 and kept_at >= $4

-- name: keep
-- Only a request that was really inserted becomes pending for the ledger.
with kept as (
    insert into audits (digest, statement, signature, salt, auditor, member, action, checks, kept_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    on conflict (digest) do nothing
    returning digest, salt, statement
), pending as (
    insert into ledger_pending (kind, source, entry)
    select 'audit', digest, ledger_entry(salt, 'audit', statement) from kept
)
select count(*) from kept

-- name: find
select * from audits where digest = $1

-- name: newest
select * from audits order by kept_at desc, digest limit $1

-- name: made_since
select * from audits
where kept_at >= $1 and auditor = $2 and member = $3 and action = $4
order by kept_at desc

-- name: final_before
select size, root, note, signed_at, final_at from ledger_checkpoints
where final_at <= $1
order by final_at desc, size desc
limit 1

-- name: final_after
select size, root, note, signed_at, final_at from ledger_checkpoints
where final_at is not null and signed_at >= $1
order by signed_at, size
limit 1

-- name: shown_entries
-- From $3 on all, before it only those that are shown whenever they were made.
select index, kind, source from (
    (
        select index, kind, source from ledger_entries
        where index >= $1 and index < least($2::bigint, $3::bigint) and kind in ('epoch', 'registry')
        order by index
        limit $4
    )
    union all
    (
        select index, kind, source from ledger_entries
        where index >= greatest($1::bigint, $3::bigint) and index < $2
        order by index
        limit $4
    )
) as shown
order by index
limit $4

-- One statement `<kind>_rows` for each kind of entry: sources in, for each its salt, statement, signature and note out.
-- Sources come as an array, so that the plan goes by the keys whatever the statistics say.

-- name: receipt_rows
select id as source, salt, receipt as statement, ''::bytea as signature,
       case when adopted then 'adopted' else side end as note
from receipts
where id = any($1::bytea[])

-- name: check_rows
select uuid_send(id) as source, salt, statement, signature, '' as note
from checks
where id = any(array(select encode(source, 'hex')::uuid from unnest($1::bytea[]) as source))

-- name: unanswered_rows
-- As `unanswered_leaf`: an ask that was answered in the end stands in its receipt, under the same salt.
with recursive wanted as (
    select encode(source, 'hex')::uuid as batch from unnest($1::bytea[]) as source
), silent as (
    (select owner from unanswered order by owner limit 1)
    union all
    select (select u.owner from unanswered u where u.owner > s.owner order by u.owner limit 1)
    from silent s
    where s.owner is not null
), owners as (
    (select counterparty from receipts where side = 'querier' order by counterparty limit 1)
    union all
    select (
        select r.counterparty from receipts r
        where r.side = 'querier' and r.counterparty > o.counterparty
        order by r.counterparty
        limit 1
    )
    from owners o
    where o.counterparty is not null
)
select uuid_send(u.batch) as source, u.salt, u.ask as statement, u.ask_signature as signature, '' as note,
       null::bytea as receipt
from silent s
cross join wanted w
join unanswered u on u.owner = s.owner and u.batch = w.batch
union all
select uuid_send(r.batch), r.salt, null, null, '', r.receipt
from owners o
cross join wanted w
join receipts r on r.side = 'querier' and r.counterparty = o.counterparty and r.batch = w.batch

-- name: snapshot_rows
select digest as source, salt, statement, signature, '' as note from snapshots where digest = any($1::bytea[])

-- name: epoch_rows
select digest as source, salt, statement, signature, '' as note from epochs where digest = any($1::bytea[])
union all
select sha256(end_statement), end_salt, end_statement, end_signature, ''
from epochs
where end_statement is not null and sha256(end_statement) = any($1::bytea[])

-- name: registry_rows
select digest as source, salt, registry_statement(file) as statement, file as signature, '' as note
from registry_versions
where digest = any($1::bytea[])

-- name: audit_rows
select digest as source, salt, statement, signature, '' as note from audits where digest = any($1::bytea[])

-- name: settlement_rows
-- Both members' signatures, in the order of their names.
select digest as source, salt, statement, first_signature || second_signature as signature, '' as note
from settlements
where digest = any($1::bytea[])
