"""What holds for every test."""

from __future__ import annotations

import os

from hypothesis import settings

# A shared machine is slow now and then: no test fails by the clock. CI tries the same examples
# each time, so that a change is judged by itself; everybody else tries new ones.
settings.register_profile("riskshare", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("riskshare")
