-- Withdrawals that go out ahead of a larger change are found by themselves, however large that is.

create index entries_withdrawn on entries (list_id, changed)
    where state = 'withdrawn' and reason <> 'replaced' and reason <> 'expired';
