-- Asks that were refused for good, or are too old, are not read again every few seconds to be sent again.

alter table unanswered add column closed_at timestamptz;
create index unanswered_open on unanswered (owner, seq) where closed_at is null;
