"""The flow of a check: check -> ask -> answer -> receipt.

    client --check--> [querier: blind] --ask--> [owner: admit, evaluate, keep receipt]
    client <-verdict- [querier: verify, finalize, look up, keep record] <--answer--

`message` and `admission` and `quota` are rules without I/O. `answer` is the owner's half, `ask` the
querier's half towards one owner, `check` the fan-out to all of them and the verdict. None of the
three verbs knows HTTP or SQL: each declares what it needs as a Protocol.
"""
