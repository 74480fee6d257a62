"""One member's peer: where all parts come together.

`opening` reads what belongs to the member, `directory` keeps the registry in force, `peer` builds all parts and runs
them, `chores` is the background work, `adapters` fit the store to what the verbs ask of it, `serve` runs one or
many processes.
"""
