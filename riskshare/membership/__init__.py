"""From an identifier to the answer whether it is listed: rules without I/O.

    identifier -> oprf (group) -> token -> label -> bloom -> record

`identifier` writes one thing in one way, `oprf` turns it into a token that only the owner's key gives, `bloom` says
quickly what is not on a list, `record` opens what a list says of a token.
"""
