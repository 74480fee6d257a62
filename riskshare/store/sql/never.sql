-- What may stand on no list.

-- name: lock_never
-- One at a time: numbers become visible in their order.
lock table never_rules in share row exclusive mode

-- name: never_rules
select * from never_rules order by number

-- name: add_never
insert into never_rules (kind, type, pattern, handle, sealed, row, note, author)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict do nothing
returning number

-- name: known_never
select number from never_rules
where (kind = 'exact' and handle = $3) or (kind = $1 and type = $2 and pattern = $4)

-- name: remove_never
delete from never_rules where number = any($1::bigint[]) returning number
