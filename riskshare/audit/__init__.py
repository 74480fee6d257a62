"""Audit: access -> pages -> replay -> reconcile -> open, and settle and tell.

An auditor is a member. It reads what others keep only by a signed request, which both log (`access`). What it reads it
keeps as a folder per member (`page`, beside the log as `ledger.export` writes it), so that everything is verified from
files: online and offline are one path, and whoever gets the folders can do it again.

`replay` verifies each member's log and what its entries stand for; `reconcile` holds both sides of every exchange
against each other; `open` follows single checks down to the mathematics. What they find is of two kinds (`finding`): a
*finding* names the party that the evidence convicts; an *observation* is what crashes and partitions explain.

Every command ends in a `report`: canonical JSON, and a page (`report_page`, with `chart` and `axis`) that can be made
again from it, byte for byte.
"""
