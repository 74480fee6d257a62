-- Catalogues are kept whole, so that all processes of a member serve the same one; and the statement that ended an epoch.

alter table catalogue_versions
    add column content bytea not null default '',
    add column issued_at timestamptz not null default '1970-01-01T00:00:00Z',
    add column statement bytea not null default '',
    add column signature bytea not null default '';
alter table catalogue_versions
    alter column content drop default,
    alter column issued_at drop default,
    alter column statement drop default,
    alter column signature drop default;

alter table epochs
    add column end_statement bytea,
    add column end_signature bytea check (length(end_signature) = 64),
    add column end_salt bytea check (length(end_salt) = 16);
