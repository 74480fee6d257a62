"""Evidence files: what they hold, and every way in which one can be wrong."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.audit.conviction import convicts
from riskshare.audit.evidence import Absent, Entry, EvidenceFile, is_evidence_file, read_evidence
from riskshare.audit.finality import read_cosigned
from riskshare.audit.versions import Versions
from riskshare.encoding import canonical_json
from riskshare.errors import EncodingError, LedgerError, TrustError
from riskshare.ledger.leaf import KINDS
from tests.simulator.casefolder import CaseNetwork
from tests.simulator.fraud import versions_of

ENTRY = Entry("bank", 3, "receipt", bytes(16), b"statement", b"", (bytes(32),), 0)
FILE = EvidenceFile("missing", "bank", "simnet", 5, (b"note",), (ENTRY,), (b"receipt",), (("snapshot", b"wire"),))

DIGESTS = st.binary(min_size=32, max_size=32)
ENTRIES = st.builds(
    Entry,
    member=st.sampled_from(["bank", "jd"]),
    index=st.integers(0, 2**40),
    kind=st.sampled_from(sorted(KINDS)),
    salt=st.binary(min_size=16, max_size=16),
    statement=st.binary(max_size=80),
    signature=st.binary(max_size=64),
    proof=st.lists(DIGESTS, max_size=4).map(tuple),
    checkpoint=st.integers(0, 3),
)
FILES = st.builds(
    EvidenceFile,
    kind=st.sampled_from(["missing", "altered", "over_quota"]),
    accused=st.just("bank"),
    network=st.just("simnet"),
    grace=st.integers(0, 2**50),
    checkpoints=st.lists(st.binary(max_size=40), max_size=2).map(tuple),
    entries=st.lists(ENTRIES, max_size=3).map(tuple),
    receipts=st.lists(st.binary(max_size=40), max_size=3).map(tuple),
    statements=st.lists(st.tuples(st.sampled_from(["snapshot", "epoch"]), st.binary(max_size=9)), max_size=2).map(
        tuple
    ),
    absent=st.none() | st.builds(Absent, st.integers(0, 3), DIGESTS),
)


@given(FILES)
def test_a_file_is_read_back_as_it_was_written(file):
    data = file.to_bytes()
    assert is_evidence_file(data)
    assert read_evidence(data) == file
    assert read_evidence(data).to_bytes() == data


def altered(**changes):
    return canonical_json({**json.loads(FILE.to_bytes()), **changes})


def entry(**changes):
    return altered(entries=[{**json.loads(FILE.to_bytes())["entries"][0], **changes}])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"{}", "exactly the fields"),
        (b'{"absent":null}', "exactly the fields"),
        (FILE.to_bytes()[:-1], "JSON"),
        (FILE.to_bytes() + b"\n", "JSON"),
        (altered(kind="boredom"), "kind of finding"),
        (altered(kind=["missing"]), "kind of finding"),
        (altered(accused="Bank"), "refused"),
        (altered(network="No Network"), "refused"),
        (altered(grace=-1), "range"),
        (altered(grace="5"), "range"),
        (altered(checkpoints="note"), "list"),
        (altered(checkpoints=["%"]), "base64"),
        (altered(checkpoints=[""] * 65), "more than 64"),
        (altered(statements=[{"kind": "lie", "wire": ""}]), "kind that there is not"),
        (altered(statements=[["snapshot", ""]]), "exactly the fields"),
        (altered(absent={"checkpoint": 0}), "exactly the fields"),
        (altered(absent={"checkpoint": 0, "statement": "ff"}), "hex"),
        (entry(kind="gossip"), "kind that no log has"),
        (entry(member=""), "refused"),
        (entry(index=-1), "range"),
        (entry(salt=""), "another length"),
        (entry(proof=["AAAA"]), "another length"),
        (entry(proof=[""] * 64), "more than 63"),
        (altered(entries=[{}]), "exactly the fields"),
    ],
)
def test_a_malformed_file_is_refused(data, why):
    with pytest.raises(EncodingError, match=why):
        read_evidence(data)


@pytest.fixture(scope="module")
def case():
    made = CaseNetwork()
    made.begin()
    made.step(minutes=10)
    made.exchange("bank", "jd")
    made.checkpoint()
    return made


def note(case, member="bank", **changes):
    log = case.logs[member]
    return case.signed(member, len(log.rows), log.checkpoints[-1][1], **changes).note.to_bytes()


def test_a_checkpoint_is_final_by_the_registry_of_its_time(case):
    found = read_cosigned(note(case), versions_of(case))
    assert (found.member, found.checkpoint.size) == ("bank", len(case.logs["bank"].rows))
    assert found.at == int(case.now.timestamp()) * 1000


@pytest.mark.parametrize(("cosigners", "code"), [([], "not_final"), (["jd", "card"], "not_final")])
def test_a_checkpoint_without_a_quorum_is_not(case, cosigners, code):
    with pytest.raises(LedgerError) as caught:
        read_cosigned(note(case, cosigners=cosigners), versions_of(case))
    assert caught.value.code == code


def test_a_checkpoint_of_another_network_is_of_no_log(case):
    data = note(case).replace(b"riskshare/simnet/bank\n", b"riskshare/othernet/bank\n", 1)
    with pytest.raises(LedgerError) as caught:
        read_cosigned(data, versions_of(case))
    assert caught.value.code == "unknown_log"


def test_a_checkpoint_that_was_altered_is_not_signed(case):
    data = note(case)
    first, size, rest = data.split(b"\n", 2)
    with pytest.raises(LedgerError) as caught:
        read_cosigned(b"\n".join([first, b"9" + size, rest]), versions_of(case))
    assert caught.value.code == "bad_signature"


def test_evidence_of_another_network_or_of_another_kind_convicts_nobody(case):
    chain = versions_of(case)
    for file in (replace(FILE, network="othernet"), replace(FILE, kind="withheld"), replace(FILE, checkpoints=())):
        with pytest.raises(TrustError) as caught:
            convicts(file.to_bytes(), chain, case.now)
        assert caught.value.code == "no_proof"


def test_an_entry_that_does_not_stand_in_its_log_proves_nothing(case):
    rows = case.logs["bank"].rows
    shown = Entry("bank", len(rows) - 1, "receipt", bytes(16), rows[-1].statement, b"", (), 0)
    file = EvidenceFile("unsigned", "bank", "simnet", checkpoints=(note(case),), entries=(shown,))
    with pytest.raises(LedgerError) as caught:
        convicts(file.to_bytes(), versions_of(case), case.now)
    assert caught.value.code == "wrong_inclusion"
    for wrong in (
        replace(file, entries=(replace(shown, member="jd"),)),
        replace(file, checkpoints=(note(case, "jd"),)),
    ):
        with pytest.raises(LedgerError) as caught:
            convicts(wrong.to_bytes(), versions_of(case), case.now)
        assert caught.value.code == "no_proof"


def test_what_is_neither_evidence_nor_a_fraud_proof_is_refused(case):
    with pytest.raises(EncodingError):
        convicts(b"hello", Versions(tuple(case.network.history)), case.now)
