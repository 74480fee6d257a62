-- Both sides of every exchange held against each other (SQLite, over the case database of case.sql).
-- Where a fault bit mask is a parameter, it is that of riskshare/audit/fact.py which says that an exchange proves nothing.

-- name: prepare
create index if not exists unanswered_by_ask on unanswered (ask);
create index if not exists snapshot_by_digest on snapshot (owner, digest);
create index if not exists snapshot_by_version on snapshot (list, epoch, version);
create index if not exists epoch_by_digest on epoch (owner, digest);
create index if not exists exchange_by_batch on exchange (batch);
create index if not exists exchange_by_pair on exchange (owner, querier, answered_at);
-- Ids of receipts that do not simply stand once in each of two logs, and of those that step 7 of replay objects to, as it
-- does to each that stands in the log of a third member. Of all others it is known that they stand in both sides' logs.
drop table if exists odd;
create table odd (id blob primary key, rows integer not null, logs integer not null) without rowid;
insert into odd
select id, count(*) as rows, count(distinct member) as logs from receipt indexed by receipt_by_id
group by id having rows <> 2 or logs <> 2;
insert or ignore into odd select id, 2, 2 from flaw cross join receipt using (member, idx) where step = '7';
drop table if exists profile;
create table profile as
select owner, querier, purpose, registry, epoch, answered_at / 86400000 as day, count(*) as exchanges,
    sum(count) as elements, min(asked_at) as first_asked, max(asked_at) as last_asked,
    min(answered_at) as first_answered, max(answered_at) as last_answered
from exchange where faults & ?1 = 0
group by owner, querier, purpose, registry, epoch, day

-- name: finish
drop index if exists unanswered_by_ask;
drop index if exists snapshot_by_digest;
drop index if exists snapshot_by_version;
drop index if exists epoch_by_digest;
drop index if exists exchange_by_batch;
drop index if exists exchange_by_pair;
drop table if exists odd;
drop table if exists profile

-- A replay that was not finished has its inputs among `about`.
-- name: is_ready
select exists (select 1 from log) and not exists (select 1 from about where name = 'inputs')

-- Logs that do not hold, or of which entries are not shown: that something is not there says nothing.
-- name: incomplete
select distinct member from flaw where step in ('1', '4') or (step = '3' and kind <> 'skipped')

-- name: one_sided
select exchange.*, max(receipt.member = querier), max(receipt.member = owner)
from odd cross join receipt indexed by receipt_by_id on receipt.id = odd.id
cross join exchange on exchange.id = odd.id
where exchange.faults & ?1 = 0
group by odd.id
having max(receipt.member = querier) = 0 or max(receipt.member = owner) = 0

-- name: places
select member, idx from receipt where id = ?1 order by member, idx

-- name: knows_the_ask
select 1 from unanswered where ask = ?1 and member = ?2
union all
select 1 from exchange indexed by exchange_by_batch
cross join receipt indexed by receipt_by_id on receipt.id = exchange.id and receipt.member = ?2
where exchange.batch = ?3 and exchange.ask = ?1
limit 1

-- name: repeated
select receipt.member, receipt.id, count(*), min(receipt.idx), max(receipt.idx)
from odd cross join receipt indexed by receipt_by_id on receipt.id = odd.id
where odd.rows > odd.logs group by receipt.id, receipt.member having count(*) > 1

-- What there is once of a batch is seen in an index: next to all. Malformed exchanges are all of batch x''.
-- name: of_a_batch
with often as (
    select batch from exchange indexed by exchange_by_batch group by batch having count(*) > 1
    union
    select batch from unanswered group by batch having count(*) > 1
    union
    select batch from unanswered
    where exists (select 1 from exchange indexed by exchange_by_batch where exchange.batch = unanswered.batch)
)
select owner, querier, batch from (
    select owner, querier, batch, ask, answer from often
    cross join exchange indexed by exchange_by_batch using (batch) where faults & ?1 = 0
    union all
    select owner, member, batch, ask, null from unanswered where batch in (select batch from often)
)
group by owner, querier, batch having min(ask) <> max(ask) or min(answer) <> max(answer)

-- name: exchanges_of_a_batch
select * from exchange where owner = ?1 and querier = ?2 and batch = ?3 order by ask, answered_at, id

-- name: unanswered_of_a_batch
select * from unanswered where owner = ?1 and member = ?2 and batch = ?3 order by idx

-- name: faulty
select receipt.member, receipt.idx, exchange.* from exchange indexed by exchange_faulty
join receipt on receipt.id = exchange.id where exchange.faults <> 0 and exchange.faults & ?1 <> 0

-- name: backdated
select * from exchange where faults & ?1 = 0 and answered_at < asked_at - ?2

-- name: answered_late
select owner, count(*) from exchange where faults & ?1 = 0 and answered_at > asked_at + ?2 group by owner

-- Exchanges first, in this order: next to none is left of them.
-- name: future_receipts
select receipt.member, receipt.idx, exchange.* from exchange
cross join receipt indexed by receipt_by_id on receipt.id = exchange.id
cross join log on log.member = receipt.member
where max(asked_at, answered_at) > (select min(last_cosigned) from log) + ?2
    and max(asked_at, answered_at) > log.last_cosigned + ?2 and exchange.faults & ?1 = 0

-- What others logged with a member in the period, behind the end of the log that it shows; exchanges first, as above.
-- name: behind
select log.member, log.last_cosigned, count(*), max(exchange.answered_at) from exchange
cross join log on log.member in (exchange.querier, exchange.owner)
where exchange.answered_at > (select min(last_cosigned) from log) + ?2
    and exchange.answered_at > log.last_cosigned + ?2 and exchange.answered_at < log.closed and exchange.faults & ?1 = 0
group by log.member order by log.member

-- name: future_statements
select log.member, idx, answered_at from check_ join log using (member) where answered_at > last_cosigned + ?1
union all
select log.member, idx, asked_at from unanswered join log using (member) where asked_at > last_cosigned + ?1

-- name: purposes
select owner, querier, purpose, registry, min(first_answered), sum(exchanges) from profile group by 1, 2, 3, 4

-- name: of_a_purpose
select * from exchange
where owner = ?1 and querier = ?2 and purpose = ?3 and registry = ?4 and answered_at < ?5 and faults & ?6 = 0
order by answered_at

-- name: days
select owner, querier, day, registry, sum(elements), max(last_answered) from profile
group by 1, 2, 3, 4 order by 1, 2, 3, registry desc

-- name: of_a_day
select * from exchange where owner = ?1 and querier = ?2 and answered_at / 86400000 = ?3 and registry >= ?4 and faults & ?5 = 0
order by count desc

-- name: epochs_used
select owner, querier, epoch, registry, sum(elements), max(last_answered) from profile
group by 1, 2, 3, 4 order by 1, 2, 3, registry desc

-- name: of_an_epoch
select * from exchange where owner = ?1 and querier = ?2 and epoch = ?3 and registry >= ?4 and faults & ?5 = 0
order by count desc

-- name: terms
select p.owner, p.epoch, min(e.opened), max(e.closed), min(p.first_asked), max(p.last_answered)
from profile p left join epoch e on e.owner = p.owner and e.digest = p.epoch and e.member = p.owner
group by 1, 2

-- name: under_an_epoch
select * from exchange where owner = ?1 and epoch = ?2 and faults & ?3 = 0 order by answered_at

-- name: epoch_place
select member, idx from epoch where owner = ?1 and digest = ?2 and member = ?1 order by closed desc, idx limit 1

-- name: doubled_epochs
select a.owner, a.member, a.idx, b.member, b.idx from epoch a
join epoch b on a.owner = b.owner and a.keyset = b.keyset and a.number = b.number and a.digest < b.digest

-- name: doubled_snapshots
select a.owner, a.member, a.idx, b.member, b.idx from snapshot a
join snapshot b on a.list = b.list and a.epoch = b.epoch and a.version = b.version and a.digest < b.digest
union
select a.owner, a.member, a.idx, b.member, b.idx from snapshot a
join snapshot b on a.list = b.list and a.epoch = b.epoch and b.version = a.version + 1 and b.previous <> a.digest

-- name: unknown_snapshots
select n.querier, n.owner, n.list, n.digest, n.exchange, x.asked_at from named_snapshot n
join exchange x on x.id = n.exchange
where not exists (select 1 from snapshot s where s.owner = n.owner and s.digest = n.digest and s.member = n.owner)

-- Owners and queriers by turns, so that none crowds the others out. Needs no index of `prepare`.
-- name: unlogged_snapshots
with unlogged as (
    select owner, digest from named_snapshot where owner in (select member from log)
    except
    select owner, digest from snapshot where member = owner
), named as (
    select owner, digest, min(querier) as querier, group_concat(distinct querier) as queriers
    from named_snapshot join unlogged using (owner, digest) group by owner, digest
)
select owner, digest, queriers from named
order by row_number() over (partition by owner, querier order by digest), owner, querier

-- name: snapshots_of_a_version
select * from snapshot where list = ?1 and epoch = ?2 and version between ?3 - 1 and ?3 + 1

-- name: standing_asks
select distinct owner, querier from profile where querier = ?1

-- name: with_a_member
select * from exchange where owner = ?1 and querier = ?2 and answered_at >= ?3 and faults & ?4 = 0 order by answered_at

-- name: knew_as_owner
select * from exchange where owner = ?1 and registry >= ?2 and faults & ?3 = 0 order by answered_at limit 1

-- name: knew_as_querier
select * from exchange where querier = ?1 and registry >= ?2 and faults & ?3 = 0 order by asked_at limit 1

-- name: registry_place
select idx from registry where member = ?1 and version >= ?2 and idx < (select start from log where member = ?1)
order by version limit 1

-- name: contacts
select answered_at from exchange where owner = ?1 and querier = ?2 and answered_at >= ?3 and answered_at <= ?4
    and faults & ?5 = 0 and exists (
        select 1 from receipt indexed by receipt_by_id where receipt.id = exchange.id and receipt.member = ?2
    )
order by answered_at limit 1

-- name: contact_place
select receipt.idx from exchange
join receipt indexed by receipt_by_id on receipt.id = exchange.id and receipt.member = ?2
where exchange.owner = ?1 and exchange.querier = ?2 and exchange.answered_at = ?3 limit 1

-- name: unknown_to_the_querier
select exchange.id, exchange.asked_at from exchange
where owner = ?1 and querier = ?2 and answered_at >= ?3 and faults & ?4 = 0
    and not exists (
        select 1 from receipt indexed by receipt_by_id where receipt.id = exchange.id and receipt.member = ?2
    )
    and not exists (select 1 from unanswered u where u.ask = exchange.ask and u.member = ?2)
order by asked_at

-- name: own_times
select idx, answered_at from receipt join exchange using (id) where member = ?1 and idx >= ?2
union all select idx, answered_at from check_ where member = ?1 and idx >= ?2
union all select idx, asked_at from unanswered where member = ?1 and idx >= ?2
union all select idx, issued_at from snapshot where member = ?1 and idx >= ?2
union all select idx, requested_at from audit where member = ?1 and idx >= ?2

-- name: counts
select log.member,
    (select count(*) from receipt where receipt.member = log.member and idx >= log.start),
    (select count(*) from receipt where receipt.member = log.member and note = 'adopted'),
    (select count(*) from unanswered where unanswered.member = log.member),
    (select count(*) from check_ where check_.member = log.member)
from log order by log.member

-- name: asked_counts
select querier, sum(exchanges) from profile group by querier

-- name: answered_counts
select owner, sum(exchanges) from profile group by owner

-- name: sequenced_late
select receipt.member, count(*) from receipt
join log on log.member = receipt.member and log.first_cosigned is not null
join exchange on exchange.id = receipt.id
where receipt.idx >= log.start and exchange.answered_at < log.first_cosigned - ?1
group by receipt.member

-- name: series
select member, bucket / ?1 as slot, sum(receipts), sum(checks), sum(elements) from activity
where bucket >= ?2 and bucket < ?3 group by member, slot order by slot, member

-- name: named_counts
select querier, count(*) from named_snapshot group by querier

-- name: two_sided
select ((select count(*) from receipt) - coalesce(sum(rows), 0)) / 2 + coalesce(sum(logs = 2), 0) from odd

-- name: last_minute
select coalesce(max(bucket), 0) from activity where member = ?1 and bucket <= ?2

-- name: settlements
select s.*, o.idx from settlement s
left join settlement o on o.digest = s.digest and o.member <> s.member
where s.member in (s.first, s.second)
group by s.member, s.digest
order by s.opened, s.first, s.second, s.member

-- name: settlement_counts
select name, count(distinct digest) from (
    select first as name, digest from settlement union all select second, digest from settlement
)
group by name

-- What one log has of a period and direction; with a bound, what stands below it there, and below another in another log.
-- name: receipts_of_a_period
select x.id, x.count, x.answered_at from exchange x indexed by exchange_by_pair
where x.owner = ?1 and x.querier = ?2 and x.answered_at >= ?3 and x.answered_at < ?4 and x.faults & ?5 = 0
    and exists (
        select 1 from receipt indexed by receipt_by_id where receipt.id = x.id and receipt.member = ?6 and idx < ?7
    )
    and exists (
        select 1 from receipt indexed by receipt_by_id where receipt.id = x.id and receipt.member = ?8 and idx < ?9
    )
order by x.id

-- name: times_between
select idx, answered_at from receipt join exchange using (id) where member = ?1 and idx >= ?2 and idx < ?3
union all select idx, answered_at from check_ where member = ?1 and idx >= ?2 and idx < ?3
