"""Three listeners: for other members (mutual TLS), for the member's payment systems, for operators.

    problems      the one table from errors to HTTP
    observing     request id, access log, metrics around every handler
    gate          who is at the other end of a connection between peers
    peers         the peers' routes
    visitors      how much whoever comes may ask for, where no certificate is needed
    ledger        those routes: a member's log and its witness
    access        API keys
    idempotency   Idempotency-Key
    shown         values as the client API shows them
    openapi       its description
    clients       its routes
    operations    health, readiness, metrics
    listen        binding to an address

Each application declares as Protocols what it needs; the composition root gives it.
"""
