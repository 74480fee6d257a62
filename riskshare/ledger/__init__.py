"""Post-accounting: what both sides of an exchange keep, and prove later.

A query leaves two things behind, durable before its answer counts: a *receipt* (both
signed halves of the exchange, at both members) and a *sealed record* of the check (at the
querier alone). `receipt` and `sealed` are their pure forms; `merkle` is the tree hash that
an ask and an answer commit to their elements with. The members' append-only Merkle logs
over them stand beside these files: `sequence`, `cosign` and `audit` come with the ledger.
"""
