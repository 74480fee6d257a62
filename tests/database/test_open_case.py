"""What opening checks reads of a case: facts of replayed logs, versions of the registry."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from riskshare.audit.basis import Stated
from riskshare.audit.fact import CheckRow, EpochRow, LogRow, ReceiptRow, milliseconds, moment_of
from riskshare.errors import DiskError, InputError
from riskshare.query.message import new_batch
from riskshare.store.case import FILE_NAME, Case
from riskshare.store.open_case import REGISTRY, OpenCase
from tests.simulator.network import SimulatedNetwork, make_network
from tests.simulator.query import START

AT = milliseconds(START)
HOUR = 3_600_000
CHECKS = [new_batch(n, bytes(10)) for n in range(1, 6)]


@pytest.fixture
def facts(tmp_path: Path) -> OpenCase:
    case = Case.open(tmp_path / FILE_NAME)
    case.add("log", [LogRow("icbc", 9, bytes(32), 0, AT, AT + 10_000, None, AT + 25 * HOUR)])
    case.add("log", [LogRow("jd", 9, bytes(32), 0, AT, AT + 10_000, None, None)])
    case.add(
        "check_", [CheckRow("icbc", n, check.bytes, AT + 1000 * n, bytes([n] * 32)) for n, check in enumerate(CHECKS)]
    )
    case.add("check_", [CheckRow("jd", 0, CHECKS[0].bytes, AT, b"\x09" * 32), CheckRow("icbc", 8, b"odd", AT, b"")])
    case.add("receipt", [ReceiptRow("icbc", 7, b"\x01" * 32, "querier")])
    case.add("epoch", [EpochRow("jd", b"\x02" * 32, "default", 1, AT, AT, b"\x03" * 32, 0, "jd")])
    case.add("epoch", [EpochRow("jd", b"\x04" * 32, "default", 1, AT, AT, b"\x05" * 32, 0, "icbc")])
    return OpenCase(case, tmp_path)


def write(folder: Path, network: SimulatedNetwork) -> None:
    (folder / REGISTRY).mkdir(exist_ok=True)
    for version in network.history:
        (folder / REGISTRY / f"{version.version}.json").write_bytes(version.to_file())


def test_checks_are_those_of_the_member_and_the_period(facts: OpenCase):
    assert list(facts.checks("icbc", None, None)) == CHECKS
    between = facts.checks("icbc", START + timedelta(seconds=1), START + timedelta(seconds=3))
    assert list(between) == CHECKS[1:3]
    assert list(facts.checks("nobody", None, None)) == []


def test_a_check_is_stated_as_its_members_log_has_it(facts: OpenCase):
    unknown = UUID(int=7)
    found = facts.stated("icbc", frozenset({CHECKS[0], CHECKS[2], unknown}))
    assert found == {
        CHECKS[0]: Stated(CHECKS[0], START, bytes(32)),
        CHECKS[2]: Stated(CHECKS[2], START + timedelta(seconds=2), b"\x02" * 32),
    }
    assert facts.stated("jd", frozenset(CHECKS))[CHECKS[0]].record == b"\x09" * 32


def test_a_receipt_stands_in_the_log_that_has_it(facts: OpenCase):
    assert facts.stands("icbc", b"\x01" * 32)
    assert not facts.stands("jd", b"\x01" * 32)
    assert not facts.stands("icbc", b"\x02" * 32)


def test_the_key_of_an_epoch_is_the_one_in_its_owners_own_log(facts: OpenCase):
    assert facts.epoch_key("jd", b"\x02" * 32) == b"\x03" * 32
    assert facts.epoch_key("jd", b"\x04" * 32) is None
    assert facts.epoch_key("icbc", b"\x02" * 32) is None


def test_a_log_shows_what_was_kept_well_before_its_last_checkpoint(facts: OpenCase):
    assert facts.shows("icbc", START)
    assert facts.shows("icbc", START + timedelta(hours=1))
    assert not facts.shows("icbc", START + timedelta(hours=1, seconds=1))
    assert not facts.shows("icbc", START - timedelta(seconds=1))
    assert not facts.shows("jd", START)
    assert not facts.shows("nobody", START)


def test_the_part_is_the_period_that_was_replayed(facts: OpenCase):
    assert facts.part("icbc") == (AT, AT + 10_000)
    assert moment_of(AT) == START
    assert facts.part("nobody") is None


def test_owners_and_keys_are_those_of_the_registry(facts: OpenCase, tmp_path: Path):
    network = make_network(roles={"icbc": ("querier",)})
    network.change("unionpay", standing="suspended")
    write(tmp_path, network)
    (tmp_path / REGISTRY / "9.json").write_bytes(b"garbage")
    (tmp_path / REGISTRY / "notes.json").write_bytes(b"{}")
    assert facts.network() == network.name
    assert facts.owners(2) == {"jd", "unionpay"}
    assert facts.owners(3) == {"jd"}
    assert facts.owners(8) == facts.owners(9) == frozenset()
    assert facts.identity_keys("jd") == (network.members["jd"].identity.public,)
    assert facts.identity_keys("nobody") == ()


def test_without_a_registry_nothing_can_be_opened(facts: OpenCase):
    with pytest.raises(InputError, match="Replay"):
        facts.network()


def test_a_file_that_may_not_be_read_is_told(facts: OpenCase, tmp_path: Path):
    (tmp_path / REGISTRY).mkdir()
    (tmp_path / REGISTRY / "2.json").mkdir()
    with pytest.raises(DiskError, match=r"2\.json"):
        facts.owners(2)
