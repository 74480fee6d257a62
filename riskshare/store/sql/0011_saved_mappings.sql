-- The list's saved mapping that an import has read its columns by; null: it was told by itself how they are called.
alter table imports add column saved_mapping jsonb;
