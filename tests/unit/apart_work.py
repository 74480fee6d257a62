"""What the processes of `test_apart` do: they import it by name."""

from __future__ import annotations

import os
import time
from pathlib import Path

from riskshare.errors import SegmentError


def fail(code):
    raise SegmentError("no", code=code)


def niceness(_):
    return os.nice(0)


def vanish(_):
    os._exit(3)


def rest(place):
    Path(place).write_text(str(os.getpid()))
    time.sleep(600)
