"""The work of `audit evidence`: one file, verified with nothing but the registry.

Exit codes: 0 it convicts the member that it names, 1 it convicts nobody, 2 bad usage or input.
"""

from __future__ import annotations

from pathlib import Path

from riskshare.audit.conviction import REFUSALS, convicts
from riskshare.audit.evidence import MAX_BYTES
from riskshare.audit.versions import Versions
from riskshare.cli.auditing_replay import read_chain
from riskshare.cli.screen import Screen, clean
from riskshare.errors import InputError
from riskshare.logs import configure
from riskshare.peer.opening import now


def verify_file(file: Path, network: Path, *, json: bool) -> int:
    """Verify it, and say who is convicted of what; gives the exit code.

    Raises:
        InputError, ConfigError: a file cannot be read; or it takes older versions of the registry than were given.
        RegistryError: the registry is not to be believed.

    """
    screen = Screen(as_json=json)
    configure("warning", "console")
    versions = Versions(tuple(read_chain(network)))
    data = _read(file)
    digest = versions.newest.digest.hex()
    try:
        found = convicts(data, versions, now())
    except REFUSALS as refusal:
        if refusal.code == "registry_gap":
            raise InputError(refusal.message) from refusal
        screen.result({"convicts": False, "code": refusal.code, "why": refusal.message, "registry": digest})
        screen.say("The file convicts nobody.", "bold yellow")
        screen.say(clean(refusal.message))
        return 1
    screen.result(
        {
            "convicts": True,
            "accused": found.accused,
            "kind": found.kind,
            "sentence": found.sentence,
            "replay": found.replay or None,
            "registry": digest,
        }
    )
    screen.say(clean(found.sentence), "bold red")
    if found.replay:
        screen.say(f"This rests on an absence. {clean(found.replay)}")
    screen.pairs([("kind", found.kind), ("accused", found.accused), ("by the registry", digest)])
    return 0


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    if len(data) > MAX_BYTES:
        raise InputError(f"{path} is longer than the {MAX_BYTES} bytes that such a file may have.")
    return data
