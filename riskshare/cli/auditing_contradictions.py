"""Evidence that a check which was opened contradicts itself: files that a stranger verifies by the registry alone."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from uuid import UUID

from riskshare.audit.conviction import REFUSALS, convicts
from riskshare.audit.finding import Evidence
from riskshare.audit.open_evidence import KINDS, draft
from riskshare.audit.opened import contradiction_path
from riskshare.audit.outcome import Opened
from riskshare.audit.versions import Versions
from riskshare.cli.auditing_collect import registry_folder
from riskshare.cli.auditing_replay import read_chain
from riskshare.encoding import sha256
from riskshare.peer.opening import now
from riskshare.store.case_folders import CaseFolders
from riskshare.store.open_case import OpenCase
from riskshare.store.open_folder import OpenFolder

SHOWS: Final = "It holds identifiers: keep it closed."


def write_contradictions(found: Opened, out: Path, facts: OpenCase) -> dict[tuple[UUID, str], Evidence]:
    """Write a file for each check, and kind of finding, where one can convict; gives them by both.

    Each is verified first as a stranger would. What it takes lists or proofs to see is in no file.

    Raises:
        DiskError: the folder cannot be used.
        RegistryError: its registry is not to be believed.

    """
    wanted = [(one, kind) for one in found.checks for kind in KINDS if any(fault.kind == kind for fault in one.faults)]
    proofs: dict[tuple[UUID, str], Evidence] = {}
    if not wanted:
        return proofs
    shelf, versions = OpenFolder(out), Versions(tuple(read_chain(registry_folder(out))))
    for one, kind in wanted:
        check = one.stated.check
        shown, index = shelf.check(found.member, check), facts.place(found.member, check)
        if shown is None or index is None:
            continue
        try:
            data = draft(kind, found.member, versions.network, CaseFolders(out), index, shown)
            conviction = convicts(data, versions, now())
        except REFUSALS:
            continue
        path = contradiction_path(found.member, kind, check)
        shelf.write(path, data)
        proofs[check, kind] = Evidence(path, sha256(data), f"{conviction.sentence} {SHOWS}")
    return proofs
