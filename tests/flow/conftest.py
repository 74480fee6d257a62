from __future__ import annotations

import pytest

from tests.simulator.published import PHONES
from tests.simulator.publishing import Desk


@pytest.fixture
def desk(tmp_path):
    """A publishing member, over a store in memory and real files."""
    return Desk(tmp_path)


@pytest.fixture
def of(desk):
    """Its list, of ten entries."""
    made = desk.create_list()
    desk.put(made, *PHONES[:10])
    return made
