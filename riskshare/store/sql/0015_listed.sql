-- How many entries stand on a list, so that nobody adds up all its changes to know.

alter table lists add column listed bigint not null default 0;
update lists l set listed = (
    select coalesce(sum(added + relisted - withdrawn), 0) from list_changes c where c.list_id = l.id
);
