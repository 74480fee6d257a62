-- Epochs whose computing goes on where it stopped.
select 1;
