-- Who may know of the lists that are not open to all members.

-- name: newest
select distinct on (list_id, member)
       list_id, member, purposes, until, granted_at, author, revoked_at, coalesce(revoked_by, '') as revoked_by
from grants
order by list_id, member, id desc

-- name: of_list
select list_id, member, purposes, until, granted_at, author, revoked_at, coalesce(revoked_by, '') as revoked_by
from grants
where list_id = $1
order by id

-- name: revoke
with revoked as (
    update grants set revoked_at = greatest(clock_timestamp(), granted_at), revoked_by = $3
    where list_id = $1 and member = $2 and revoked_at is null
    returning list_id, until, revoked_at
)
select coalesce(until, revoked_at) >= revoked_at as was_in_force,
       pg_notify('riskshare_grants', (select name from lists where id = list_id))
from revoked

-- name: grant
with granted as (
    insert into grants (list_id, member, purposes, until, author) values ($1, $2, $3, $4, $5)
    returning *
)
select list_id, member, purposes, until, granted_at, author, revoked_at, '' as revoked_by,
       pg_notify('riskshare_grants', (select name from lists where id = list_id)) as told
from granted
