-- name: begin
-- A claim that is new, or taken over from a peer that died, comes back as `mine`; else what stands there.
with claim as (
    insert into idempotency (api_key, key_digest, request_digest)
    values ($1, $2, $3)
    on conflict (api_key, key_digest) do update
        set started_at = clock_timestamp()
        where idempotency.response is null
          and idempotency.request_digest = excluded.request_digest
          and idempotency.started_at < clock_timestamp() - $4::interval
    returning true as mine, request_digest, response
)
select mine, request_digest, response from claim
union all
select false, request_digest, response from idempotency
where api_key = $1 and key_digest = $2 and not exists (select from claim)

-- name: give_up
delete from idempotency where api_key = $1 and key_digest = $2 and response is null

-- name: forget
delete from idempotency where started_at < $1
