"""Evidence files of a case: `OUT/evidence/<name>`, mode 0600."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, final

from riskshare.audit.finding import Evidence
from riskshare.encoding import sha256
from riskshare.store.log_folder import LogFolder

FOLDER: Final = "evidence"
_NAME: Final = re.compile(r"[a-z0-9][A-Za-z0-9_.-]{0,200}")


@final
class EvidenceFolder:
    """Where the evidence of the case in the folder `case` lies."""

    def __init__(self, case: Path) -> None:
        self._case = case
        self._folder = LogFolder(case, private=True)

    def write(self, name: str, data: bytes, shows: str) -> Evidence:
        """Write a file; one of the same name is replaced.

        Raises:
            ValueError: no such name: a mistake in our own code.
            DiskError: disk full, or no right to write.

        """
        if _NAME.fullmatch(name) is None:
            raise ValueError("an evidence file has no such name")
        path = f"{FOLDER}/{name}"
        self._folder.write(path, data)
        return Evidence(path, sha256(data), shows)
