-- Labels withdrawn because an appeal was upheld.

-- name: keep
insert into upheld_appeals (list_name, epoch, label) select $1, $2, unnest($3::bytea[])
on conflict (list_name, epoch, label) do nothing

-- name: all
select list_name, epoch, label, seen_at from upheld_appeals where seen_at >= $1
