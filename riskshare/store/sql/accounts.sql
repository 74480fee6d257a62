-- Both sides know: what counterparties have accounted for, and what they have not.

-- name: awaited_upto
select upto from ledger_awaited_upto for update

-- name: next_upto
-- As far as one call goes: where many receipts wait, not to the end at once.
select coalesce(
    (select recorded_at from receipts where recorded_at > $1 and recorded_at < $2 order by recorded_at offset $3 limit 1),
    $2
)

-- name: await_receipts
insert into ledger_awaited (member, kind, source, since)
select r.counterparty, 'receipt', r.id, r.recorded_at
from receipts r
where r.recorded_at >= $1 and r.recorded_at < $2
  and not exists (
      select from ledger_accounts a where a.member = r.counterparty and a.kind = 'receipt' and a.source = r.id
  )
on conflict (member, kind, source) do nothing

-- name: move_awaited
insert into ledger_awaited_upto (upto) values ($1)
on conflict (one) do update set upto = excluded.upto

-- name: drop_old
delete from ledger_awaited where kind = 'receipt' and since < $1

-- name: await_statements
insert into ledger_awaited (member, kind, source, since)
select h.member, h.kind, h.source, h.since
from unnest($1::text[], $2::text[], $3::bytea[], $4::timestamptz[]) as h (member, kind, source, since)
where not exists (
    select from ledger_accounts a where a.member = h.member and a.kind = h.kind and a.source = h.source
)
on conflict (member, kind, source) do nothing

-- name: drop_statements
-- What is held no longer is waited for no longer.
delete from ledger_awaited w
where w.kind <> 'receipt'
  and not exists (
      select from unnest($1::text[], $2::text[], $3::bytea[]) as h (member, kind, source)
      where h.member = w.member and h.kind = w.kind and h.source = w.source
  )

-- name: drop_accounted
delete from ledger_awaited w
where exists (select from ledger_accounts a where a.member = w.member and a.kind = w.kind and a.source = w.source)

-- name: count_missing
-- What is awaited; and of the receipts that were not looked at yet (since $1, before $2) what would be. The latter are
-- few while the peer runs: receipts_by_time gives them, and of each the primary keys tell what is known. Those are asked
-- by scalar subqueries, for an anti-join would be planned for many receipts and read all accounts.
select member, count(*) as missing
from (
    select member from ledger_awaited where kind <> 'receipt' or since >= $1
    union all
    select r.counterparty
    from receipts r
    where r.recorded_at >= greatest($1, (select upto from ledger_awaited_upto)) and r.recorded_at < $2
      and (
          select a.index from ledger_accounts a
          where a.member = r.counterparty and a.kind = 'receipt' and a.source = r.id
      ) is null
      and (
          select w.asked from ledger_awaited w
          where w.member = r.counterparty and w.kind = 'receipt' and w.source = r.id
      ) is null
) as found
group by member

-- name: take_awaited
-- Those that were asked for least often first.
update ledger_awaited w set asked = w.asked + 1
from (
    select member, kind, source from ledger_awaited where member = $1 order by asked, since limit $2
) as next
where (w.member, w.kind, w.source) = (next.member, next.kind, next.source)
returning w.kind, w.source

-- name: last_answered
select recorded_at from receipts where side = 'owner' and counterparty = $1 order by seq desc limit 1

-- name: receipts_of
select id, receipt from receipts where id = any($2::bytea[]) and counterparty = $1

-- name: entry_for
select e.index, e.kind, e.source, r.salt, '' as about
from receipts r
join ledger_entries e on e.kind = 'receipt' and e.source = r.id
where r.id = $2 and r.counterparty = $1
union all
select e.index, e.kind, e.source, s.salt, l.name
from snapshots s
join ledger_entries e on e.kind = 'snapshot' and e.source = s.digest
join lists l on l.id = s.list_id
where s.digest = $2
union all
select e.index, e.kind, e.source, p.salt, p.keyset
from epochs p
join ledger_entries e on e.kind = 'epoch' and e.source = p.digest
where p.digest = $2
union all
select e.index, e.kind, e.source, p.end_salt, p.keyset
from epochs p
join ledger_entries e on e.kind = 'epoch' and e.source = sha256(p.end_statement)
where sha256(p.end_statement) = $2
limit 1

-- name: stalled
select member from ledger_followed where stalled_since is not null
