"""Post-accounting: what both sides of an exchange keep, and prove later.

A query leaves two things behind, durable before its answer counts: a *receipt* (both
signed halves of the exchange, at both members) and a *sealed record* of the check (at the
querier alone). Each becomes an entry of its member's log, which the other members cosign.

    receipt, sealed     what is kept of an exchange, of a check
    leaf                the entry: 32 bytes that commit to a statement and tell nothing of it
    merkle, proof       the tree of RFC 6962; inclusion and consistency proofs
    tile, bundle        the pieces in which tree and entries are stored and served
    edge                appending, from the right edge alone
    derivation          deriving a whole log anew from its entries
    note, checkpoint    what a log signs, and a witness cosigns
    addition            a witness's rule, and what a log asks and understands
    paths               where all this is served
    histories           what convicts a log of having two
    entry_page          entries that concern a counterparty, with their proofs
    growth              whether a member goes on publishing its log
    policy              whose cosignatures make a checkpoint final
    tlog_proof          a proof in one file, for years later
    kept                what a store keeps of logs

These are pure. What acts:

    sequence, finalize  growing the log, collecting cosignatures
    cosign              the witness
    account             both sides know that the other has accounted
    export              writing a log as plain files
    audit               verifying a whole log from outside
"""
