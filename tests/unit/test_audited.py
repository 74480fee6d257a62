"""What an auditor audited before, in its file: added to, bounded, and never silently forgotten."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from riskshare.audit.replayed import AuditedBefore
from riskshare.errors import InputError
from riskshare.store.audited import FILE_NAME, KEPT, AuditedLogs

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def test_what_is_kept_is_there_again(tmp_path):
    logs = AuditedLogs(tmp_path / "state")
    assert logs.before("bank") == []
    logs.keep("bank", AuditedBefore(b"one", NOW))
    logs.keep("bank", AuditedBefore(b"one", NOW))
    logs.keep("jd", AuditedBefore(b"two", NOW))
    again = AuditedLogs(tmp_path / "state")
    assert again.before("bank") == [AuditedBefore(b"one", NOW)]
    assert again.before("jd") == [AuditedBefore(b"two", NOW)]
    assert (tmp_path / "state" / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_only_the_newest_are_kept(tmp_path):
    logs = AuditedLogs(tmp_path)
    for number in range(KEPT + 3):
        logs.keep("bank", AuditedBefore(b"%d" % number, NOW))
    kept = logs.before("bank")
    assert (len(kept), kept[-1].note) == (KEPT, b"%d" % (KEPT + 2))


@pytest.mark.parametrize("data", [b"", b"garbage", b"[]", b'{"bank":7}', b'{"bank":[{}]}', b'{"Bank":[]}'])
def test_a_damaged_file_is_told_and_not_taken_for_none(tmp_path, data):
    (tmp_path / FILE_NAME).write_bytes(data)
    with pytest.raises(InputError) as refused:
        AuditedLogs(tmp_path).before("bank")
    assert refused.value.code == "audited_damaged"
