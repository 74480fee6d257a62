-- What was done to lists and entries, and who has seen it.

-- name: versions
-- By list: so the key leads to them, in a history that is kept for ever.
select v.* from lists l join entry_versions v on v.list_id = l.id
where v.handle = any($1::bytea[])
order by v.superseded_by

-- name: changes_numbered
select * from list_changes where list_id = $1 and number = any($2::bigint[])

-- name: days
-- Why entries were withdrawn is the reason of the change, but for a file that was the whole list.
select date_trunc('day', at at time zone 'UTC')::date as day,
       case when withdrawn = 0 then null when action in ('import', 'replace') then 'replaced' else reason end as why,
       sum(added)::bigint as added, sum(replaced)::bigint as replaced, sum(relisted)::bigint as relisted,
       sum(withdrawn)::bigint as withdrawn, sum(disputed)::bigint as disputed, sum(restored)::bigint as restored
from list_changes
where list_id = $1 and at >= $2
group by 1, 2
order by 1, 2

-- name: size_before
select coalesce(sum(added + relisted - withdrawn), 0)::bigint from list_changes where list_id = $1 and at < $2

-- name: watched
-- Of each list what stands on it, the newest snapshot of any epoch in service, since when changes wait for one, and how
-- many of the members that have asked lately hold less than that snapshot shows.
select l.id as list_id, l.name, l.listed as entries,
       s.issued_at as published_at,
       (select min(at) from list_changes c where c.list_id = l.id and c.number > coalesce(s.changed, 0)) as waiting_since,
       (select count(*) from (
            select from list_readers r join epochs e on e.digest = r.epoch
            where r.list_id = l.id and r.at > $2 and e.ended_at is null and e.not_after > $1
            group by r.reader having max(r.changed) < s.changed
        ) as late) as behind
from lists l
left join lateral (
    select max(n.issued_at) as issued_at, max(n.changed) as changed
    from epochs e
    cross join lateral (
        select issued_at, changed from snapshots
        where list_id = l.id and epoch = e.digest order by version desc limit 1
    ) n
    where e.keyset = l.keyset and e.ended_at is null and e.not_after > $1
) s on true
order by l.name

-- name: keep_readers
insert into list_readers (reader, list_id, epoch, version, changed, at)
select n.reader, s.list_id, s.epoch, s.version, s.changed, n.at
from unnest($1::text[], $2::bytea[], $3::bytea[], $4::timestamptz[]) as n (reader, epoch, digest, at)
join snapshots s on s.digest = n.digest and s.epoch = n.epoch
on conflict (list_id, reader, epoch) do update
set version = excluded.version, changed = excluded.changed, at = excluded.at
where excluded.at >= list_readers.at

-- name: readers
-- Of epochs that are in service.
select r.reader, e.number as epoch, r.version, r.changed, coalesce(s.withdrawn, r.changed) as withdrawn, r.at
from list_readers r
join epochs e on e.digest = r.epoch
left join snapshots s on s.list_id = r.list_id and s.epoch = r.epoch and s.version = r.version
where r.list_id = $1 and e.ended_at is null and e.not_after > $2
order by r.reader, e.number
