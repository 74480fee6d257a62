-- Settlements, and the receipts that they are made of.

-- name: lock
-- One transaction at a time keeps a settlement: periods that overlap have no common row to meet at.
select pg_advisory_xact_lock($1, $2)

-- name: agreed
select statement, first_signature, second_signature from settlements
where other = $1 and opened = $2 and closed = $3

-- name: overlapping
select opened, closed from settlements
where other = $1 and opened < $3 and closed > $2 and (opened, closed) <> ($2, $3)
order by opened
limit 1

-- name: keep
with kept as (
    insert into settlements (digest, other, opened, closed, statement, first_signature, second_signature)
    values ($1, $2, $3, $4, $5, $6, $7)
    returning digest, salt, statement
)
insert into ledger_pending (kind, source, entry)
select 'settlement', digest, ledger_entry(salt, 'settlement', statement) from kept

-- name: all_agreed
select statement, first_signature, second_signature from settlements order by opened, other

-- name: receipts
-- `recorded_at` finds them: no receipt is kept before it was answered, but for what clocks differ. Times of this
-- form sort as texts.
select id, batch, count, receipt_registry(receipt) as registry, answered_at
from (
    select id, batch, count, receipt, receipt_answered_at(receipt) collate "C" as answered_at
    from receipts
    where side = $1 and counterparty = $2 and recorded_at >= $3 and id > $6
) as r
where answered_at >= $4 and answered_at < $5
order by id
limit $7

-- name: counterparties
select distinct counterparty from receipts where recorded_at >= $1 order by counterparty
