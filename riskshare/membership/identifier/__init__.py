"""Identifiers: what a check asks about and what a list holds.

Two institutions find each other's entries only if both write one thing in one way, to
the byte: the canonical text is the input of the OPRF, and a silent difference would be
a silent miss. So every type has one strict rule, the rules together have a version
(`NORMALISATION`, named in every snapshot), and what does not fit is refused with its
reason instead of being made to fit.

    parse("phone:+86 138 0013 8000")      one identifier as clients write it
    make("phone", "138 0013 8000", region="CN")      the same from a column of a file
    mask(identifier)                      for a person's eyes: phone:+8613•••••••00

How a text is read, in this order:

1. The type is the word before the first colon.
2. The value goes through NFKC (full-width digits become digits) and is trimmed.
3. It has at most 256 bytes together with its type, and nothing invisible in it.
4. The rule of its type normalises and checks it: `phone`, `person` (cn_id, uscc), `bank`
   (bank_card, account, iban), `network` (email, domain, ip), `wallet`, `thing` (device,
   merchant, canary). Each rule's docstring says what it leaves out and what it refuses.
5. The canonical text, too, has at most 256 bytes.

An error names type, reason (one of `REASONS`) and position, never the text.
`tests/vectors/identifiers.json` has golden vectors of all types.
"""

from riskshare.membership.identifier.mask import mask
from riskshare.membership.identifier.parse import TYPES, make, parse, stored
from riskshare.membership.identifier.value import MAX_BYTES, NORMALISATION, REASONS, Identifier
from riskshare.membership.identifier.wallet import chain_of

__all__ = [
    "MAX_BYTES",
    "NORMALISATION",
    "REASONS",
    "TYPES",
    "Identifier",
    "chain_of",
    "make",
    "mask",
    "parse",
    "stored",
]
