"""What the crews of test_crew do: a module of its own, so that their processes import no test tools."""

from __future__ import annotations

import os


def mix(secret: bytes, part: bytes) -> bytes:
    return bytes(byte ^ secret[0] for byte in part)


def where(_secret: bytes, part: bytes) -> bytes:
    return os.getpid().to_bytes(4, "big") * len(part)


def nice(_secret: bytes, part: bytes) -> bytes:
    return bytes([os.nice(0)]) * len(part)


def picky(_secret: bytes, part: bytes) -> bytes:
    if 0 in part:
        raise ValueError("a zero")
    return part


def deadly_elsewhere(secret: bytes, part: bytes) -> bytes:
    if os.getpid() != int.from_bytes(secret, "big"):
        os._exit(1)
    return part
