-- Imports that go on where they stopped.
select 1;
