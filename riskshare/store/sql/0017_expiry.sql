-- Whether anything of a list is due is one look into this index, however long the list is.

drop index entries_by_expiry;
create index entries_by_expiry on entries (list_id, valid_until) where state <> 'withdrawn';
