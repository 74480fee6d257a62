-- Up to which change a snapshot shows the withdrawals that do not wait for a larger change.

alter table snapshots add column withdrawn bigint;
update snapshots set withdrawn = changed;
alter table snapshots alter column withdrawn set not null;
alter table snapshots add constraint snapshots_withdrawn_check check (withdrawn >= changed);
