-- What an exchange leaves behind. Only a row that was really inserted becomes pending for the ledger: what is sent again
-- does not. The statements with _one write the common single row. PostgreSQL starts VALUES some 30 microseconds sooner
-- than an array, and INSERT without ON CONFLICT another 20 (70, where it has slept): for a row that stands already they
-- fail as a whole, and the general statement follows.

-- name: keep_owner_receipt_one
with kept as (
    insert into receipts
        (side, counterparty, batch, id, epoch, count, receipt, elements, evaluated, proof, salt, adopted)
    values ('owner', $1, $2, sha256($5), $3, $4, $5, $6, $7, $8, $9, $10)
)
insert into ledger_pending (kind, source, entry)
values ('receipt', sha256($5), ledger_entry($9, 'receipt', $5))

-- name: keep_owner_receipts
with kept as (
    insert into receipts
        (side, counterparty, batch, id, epoch, count, receipt, elements, evaluated, proof, salt, adopted)
    select 'owner', counterparty, batch, sha256(receipt), epoch, count, receipt, elements, evaluated,
           proof, salt, adopted
    from unnest($1::kept_receipt[])
    on conflict (side, counterparty, batch) do nothing
    returning counterparty, batch, id, salt, receipt
), pending as (
    insert into ledger_pending (kind, source, entry)
    select 'receipt', id, ledger_entry(salt, 'receipt', receipt) from kept
)
select counterparty, batch from kept

-- name: keep_check_one
with kept as (
    insert into receipts
        (side, counterparty, batch, id, epoch, count, receipt, elements, evaluated, proof, salt, adopted)
    values ('querier', $1, $2, sha256($5), $3, $4, $5, $6, $7, $8, $9, $10)
), checked as (
    insert into checks (id, answered_at, hour_key, record, statement, signature, salt)
    values ($11, $12, $13, $14, $15, $16, $17)
)
insert into ledger_pending (kind, source, entry)
values ('receipt', sha256($5), ledger_entry($9, 'receipt', $5)),
       ('check', uuid_send($11), ledger_entry($17, 'check', $15))

-- name: keep_checks
with kept as (
    insert into receipts
        (side, counterparty, batch, id, epoch, count, receipt, elements, evaluated, proof, salt, adopted)
    select 'querier', counterparty, batch, sha256(receipt), epoch, count, receipt, elements, evaluated,
           proof, salt, adopted
    from unnest($1::kept_receipt[])
    on conflict (side, counterparty, batch) do nothing
    returning id, salt, receipt
), checked as (
    insert into checks (id, answered_at, hour_key, record, statement, signature, salt)
    select * from unnest($2::kept_check[])
    on conflict (id) do nothing
    returning id, salt, statement
)
insert into ledger_pending (kind, source, entry)
select 'receipt', id, ledger_entry(salt, 'receipt', receipt) from kept
union all
select 'check', uuid_send(id), ledger_entry(salt, 'check', statement) from checked

-- name: keep_everything
with kept as (
    insert into receipts
        (side, counterparty, batch, id, epoch, count, receipt, elements, evaluated, proof, salt, adopted)
    select 'querier', counterparty, batch, sha256(receipt), epoch, count, receipt, elements, evaluated,
           proof, salt, adopted
    from unnest($1::kept_receipt[])
    on conflict (side, counterparty, batch) do nothing
    returning id, salt, receipt
), answered as (
    delete from unanswered u
    using unnest($1::kept_receipt[]) as r
    where u.owner = r.counterparty and u.batch = r.batch
), open as (
    insert into unanswered (owner, batch, epoch, count, ask, ask_signature, elements, salt)
    select u.*
    from unnest($3::open_ask[]) as u
    -- A count, not an anti-join: planned over an empty table, that would read all receipts one day.
    where 0 = (
        select count(*) from receipts r where r.side = 'querier' and r.counterparty = u.owner and r.batch = u.batch
    )
    on conflict (owner, batch) do nothing
    returning batch, salt, ask
), hours as (
    insert into hour_keys (id, hour, sealed)
    select * from unnest($4::kept_hour_key[])
    on conflict (id) do nothing
), responses as (
    insert into idempotency (api_key, key_digest, request_digest, response)
    select * from unnest($5::kept_response[])
    on conflict (api_key, key_digest) do update set response = excluded.response
    where idempotency.request_digest = excluded.request_digest and idempotency.response is null
), checked as (
    insert into checks (id, answered_at, hour_key, record, statement, signature, salt)
    select * from unnest($2::kept_check[])
    on conflict (id) do nothing
    returning id, salt, statement
)
insert into ledger_pending (kind, source, entry)
select 'receipt', id, ledger_entry(salt, 'receipt', receipt) from kept
union all
select 'unanswered', uuid_send(batch), ledger_entry(salt, 'unanswered', ask) from open
union all
select 'check', uuid_send(id), ledger_entry(salt, 'check', statement) from checked
