-- What a row of an import does to the entry that stands there; withdrawn for one of the `barred` reasons it stays off.
create function import_effect(state text, reason text, standing bytea, coming bytea, barred text[]) returns text
    language sql immutable parallel safe
    as $$
        select case
            when state = 'disputed' then 'disputed'
            when state = 'withdrawn' then case when reason = any(barred) then 'barred' else 'relisted' end
            when standing = coming then 'same'
            else 'replaced'
        end
    $$;
