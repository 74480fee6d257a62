-- Reading what exchanges left behind.

-- name: receipt_of_batch
select * from receipts where side = $1 and counterparty = $2 and batch = $3

-- name: receipt
select * from receipts where id = $1 order by seq limit 1

-- name: receipts_for
select * from receipts
where side = 'owner' and counterparty = $1 and seq > $2 and recorded_at >= $4
order by seq
limit $3

-- name: last_kept
select max(recorded_at) from receipts where side = 'querier' and counterparty = $1

-- name: begin_adoption
insert into adoptions (owner, upto) values ($1, $2)
on conflict (owner) do update set upto = least(adoptions.upto, excluded.upto)
returning upto

-- name: move_adoption
update adoptions set upto = greatest(upto, $2) where owner = $1

-- name: end_adoption
delete from adoptions where owner = $1

-- name: known_batches
select batch from receipts where side = 'querier' and counterparty = $1 and batch = any($2::uuid[])
union all
select batch from unanswered where owner = $1 and batch = any($2::uuid[])

-- name: usage
select counterparty, sum(count)::bigint as elements
from receipts
where side = 'owner' and recorded_at >= $1 and recorded_at < $2
group by counterparty

-- name: epoch_usage
select counterparty, epoch, sum(count)::bigint as elements
from receipts
where side = 'owner' and recorded_at >= $1 and recorded_at < $2 and epoch = any($3::bytea[])
group by counterparty, epoch

-- name: open_asks
select a.* from unnest($1::text[]) as o (owner), lateral (
    select * from unanswered u where u.owner = o.owner and closed_at is null order by seq limit $2
) as a

-- name: close_asks
update unanswered set closed_at = clock_timestamp() where owner = $1 and batch = any($2::uuid[]) and closed_at is null

-- name: close_asks_before
update unanswered set closed_at = clock_timestamp() where ctid = any(array(
    select ctid from unanswered where closed_at is null and asked_at < $1 limit $2
))

-- name: count_open_asks
select count(*) from unanswered where closed_at is null

-- name: check
select id, answered_at, hour_key, record, statement, signature, salt from checks where id = $1

-- name: checks_between
-- Ids are UUIDv7: those of a period lie beside one another.
select id, record, hour_key from checks
where id > $1 and id <= $2 and answered_at >= $3 and answered_at < $4
order by id
limit $5

-- name: count_checks_between
select count(*) from checks where id > $1 and id <= $2 and answered_at >= $3 and answered_at < $4

-- name: hour_key
select id, hour, sealed from hour_keys where id = $1
