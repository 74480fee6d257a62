-- This member's log, what it saw of the others' as their witness, and what they account for.

-- name: lock
-- One transaction at a time grows the log; it ends with the transaction.
select pg_advisory_xact_lock($1, $2)

-- name: head
select size, root, note, signed_at, final_at from ledger_checkpoints order by size desc limit 1

-- name: final
select size, root, note, signed_at, final_at from ledger_checkpoints
where final_at is not null
order by size desc
limit 1

-- name: checkpoint
select size, root, note, signed_at, final_at from ledger_checkpoints where size = $1 for update

-- name: count_pending
select count(*) from ledger_pending

-- name: take_pending
-- Found by their places: a table that every exchange writes to has no index.
delete from ledger_pending where ctid = any(array(select ctid from ledger_pending limit $1))
returning kind, source, entry

-- name: tiles
select level, index, hashes from ledger_tiles
where (level, index) in (select * from unnest($1::smallint[], $2::bigint[]))

-- name: bundles
select index, entries from ledger_bundles where index = any($1::bigint[])

-- name: write_tiles
insert into ledger_tiles (level, index, width, hashes)
select * from unnest($1::smallint[], $2::bigint[], $3::smallint[], $4::bytea[])
on conflict (level, index) do update set width = excluded.width, hashes = excluded.hashes

-- name: write_bundles
insert into ledger_bundles (index, width, entries)
select * from unnest($1::bigint[], $2::smallint[], $3::bytea[])
on conflict (index) do update set width = excluded.width, entries = excluded.entries

-- name: write_entries
-- What should stand in the log twice keeps its first place, and holds nothing up.
insert into ledger_entries (index, kind, source)
select $1 + place - 1, kind, source
from unnest($2::text[], $3::bytea[]) with ordinality as new (kind, source, place)
on conflict (kind, source) do nothing

-- name: write_checkpoint
-- Compare and swap: the head must be the one that was read ($5, $6), or none ($5 null).
insert into ledger_checkpoints (size, root, note, signed_at)
select $1, $2, $3, $4
where case
    when $5::bigint is null then not exists (select from ledger_checkpoints)
    else ($5, $6::bytea) = (select size, root from ledger_checkpoints order by size desc limit 1)
end
on conflict (size) do nothing

-- name: write_note
update ledger_checkpoints set note = $2, final_at = coalesce(final_at, $3) where size = $1

-- name: forget_checkpoints
-- A final checkpoint stands for all smaller ones; they were never final and are of no more use.
delete from ledger_checkpoints where size < $1 and final_at is null

-- name: halt
insert into ledger_state (halted_code, halted_why) values ($1, $2) on conflict (one) do nothing

-- name: halted
select halted_code, halted_why from ledger_state

-- name: resume
delete from ledger_state

-- name: index_of
select index from ledger_entries where kind = $1 and source = $2

-- name: receipt_leaf
select salt, receipt as statement from receipts where id = $1 limit 1

-- name: check_leaf
select salt, statement from checks where id = $1

-- name: unanswered_leaf
-- An ask that was answered in the end stands in its receipt, under the same salt. Both tables lead with the member.
with recursive owners as (
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
select u.salt, u.ask as statement, null::bytea as receipt from unanswered u where u.batch = $1
union all
select r.salt, null, r.receipt
from owners o
join receipts r on r.side = 'querier' and r.counterparty = o.counterparty and r.batch = $1

-- name: snapshot_leaf
select salt, statement from snapshots where digest = $1

-- name: epoch_leaf
select salt, statement from epochs where digest = $1
union all
select end_salt, end_statement from epochs where sha256(end_statement) = $1

-- name: audit_leaf
select salt, statement from audits where digest = $1

-- name: registry_leaf
select salt, registry_statement(file) as statement from registry_versions where digest = $1

-- name: settlement_leaf
select salt, statement from settlements where digest = $1

-- name: witnessed
select size, root, note, at from ledger_witnessed where origin = $1

-- name: begin_witness
insert into ledger_witnessed (origin, size, root, note, at) values ($1, $2, $3, $4, $5)
on conflict (origin) do nothing

-- name: swap_witness
update ledger_witnessed set size = $2, root = $3, note = $4, at = $5
where origin = $1 and size = $6 and root = $7

-- name: all_witnessed
select origin, size, root, note, at from ledger_witnessed order by origin

-- name: entries_upto
select max(index) from (select index from ledger_entries where index > $1 and index < $2 order by index limit $3) as looked

-- name: entries_for
select e.index, e.kind, e.source, r.salt, '' as about
from ledger_entries e
join receipts r on r.id = e.source
where e.index > $2 and e.index <= $3 and e.kind = 'receipt' and r.counterparty = $1
union all
select e.index, e.kind, e.source, s.salt, l.name
from ledger_entries e
join snapshots s on s.digest = e.source
join lists l on l.id = s.list_id
where e.index > $2 and e.index <= $3 and e.kind = 'snapshot'
union all
select e.index, e.kind, e.source, p.salt, p.keyset
from ledger_entries e
join epochs p on p.digest = e.source
where e.index > $2 and e.index <= $3 and e.kind = 'epoch'
union all
select e.index, e.kind, e.source, p.end_salt, p.keyset
from ledger_entries e
join epochs p on sha256(p.end_statement) = e.source
where e.index > $2 and e.index <= $3 and e.kind = 'epoch'
order by index

-- name: account
insert into ledger_accounts (member, kind, source, index, salt, proof, size, received_at)
select $1, * from unnest($2::text[], $3::bytea[], $4::bigint[], $5::bytea[], $6::bytea[], $7::bigint[], $8::timestamptz[])
on conflict (member, kind, source) do nothing

-- name: accounted
select kind, source, index, salt, proof, size, received_at from ledger_accounts
where member = $1 and kind = $2 and source = $3

-- name: followed
select * from ledger_followed where member = $1

-- name: all_followed
select * from ledger_followed order by member

-- name: follow
-- What is known of a log never goes back.
insert into ledger_followed
    (member, next_index, size, root, note, latest_size, grown_at, waiting_since, stalled_since)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
on conflict (member) do update
set next_index = excluded.next_index, size = excluded.size, root = excluded.root, note = excluded.note,
    latest_size = excluded.latest_size, grown_at = excluded.grown_at,
    waiting_since = excluded.waiting_since, stalled_since = excluded.stalled_since
where excluded.size >= ledger_followed.size and excluded.next_index >= ledger_followed.next_index
  and excluded.latest_size >= ledger_followed.latest_size
