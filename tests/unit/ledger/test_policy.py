"""Policies: the example of the specification, the network's own, every malformed line, and what they believe."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskshare.errors import EncodingError, LedgerError, RegistryError
from riskshare.keyterm import KeyTerm
from riskshare.ledger.checkpoint import (
    Checkpoint,
    SignedCheckpoint,
    log_key,
    origin_of,
    sign_checkpoint,
    witness_key,
    witness_name,
)
from riskshare.ledger.note import COSIGNATURE, ED25519, Note, Signature, VerifierKey, cosign, sign
from riskshare.ledger.policy import (
    MAX_BYTES,
    NONE,
    Policy,
    PolicyGroup,
    PolicyLog,
    PolicyWitness,
    log_keys,
    network_policy,
    parse_policy,
    witness_keys,
)
from riskshare.signature import SigningKey
from tests.simulator.network import SimulatedNetwork, make_network

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def signing_key(number: int) -> SigningKey:
    return SigningKey(number.to_bytes(32, "big"))


def log_line_key(number: int = 0, name: str = "example.com/log") -> VerifierKey:
    return VerifierKey(name, ED25519, signing_key(1000 + number).public)


def cosigner(number: int, name: str = "") -> VerifierKey:
    return VerifierKey(name or f"witness.example/w{number}", COSIGNATURE, signing_key(number).public)


L, W = log_line_key(), [str(cosigner(number)) for number in range(9)]

# The example of tlog-policy, with keys.
EXAMPLE = f"""\
log {L}

witness X1 {W[1]}
witness X2 {W[2]}
witness X3 {W[3]}
group X-witnesses 2 X1 X2 X3

witness Y1 {W[4]}
witness Y2 {W[5]}
witness Y3 {W[6]}
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""


def refused(code: str):
    return pytest.raises(LedgerError, check=lambda error: error.code == code)


# --- The file -------------------------------------------------------------------------------------


def test_the_example_by_every_set_of_cosigners():
    policy = parse_policy(EXAMPLE.encode())
    names = [witness.name for witness in policy.witnesses]
    assert names == ["X1", "X2", "X3", "Y1", "Y2", "Y3"]
    for count in range(7):
        for chosen in combinations(names, count):
            letters = "".join(name[0] for name in chosen)
            assert policy.satisfied(chosen) == (letters.count("X") >= 2 and "Y" in letters), chosen


def test_the_example_prints_in_its_plain_form():
    policy = parse_policy(EXAMPLE.encode())
    printed = policy.to_bytes().decode()
    assert printed.splitlines()[0] == f"log {L}"
    assert printed.splitlines()[-4:] == [
        "group X-witnesses 2 X1 X2 X3",
        "group Y-witnesses 1 Y1 Y2 Y3",
        "group X-and-Y 2 X-witnesses Y-witnesses",
        "quorum X-and-Y",
    ]
    assert parse_policy(printed.encode()) == policy


SAME = {
    "white space": f"  log\t{L}  https://log.example/ \t\nwitness w {W[1]} \nquorum w\n",
    "comments": f"# a policy\nlog {L} https://log.example/\n\t # more\n\n \t \nwitness w {W[1]}\n#\nquorum w\n",
    "lines behind the quorum": f"witness w {W[1]}\nquorum w\nlog {L} https://log.example/\n",
    "bytes that are not UTF-8 in a comment": f"#\xff\nlog {L} https://log.example/\nwitness w {W[1]}\nquorum w\n",
}


@pytest.mark.parametrize("what", SAME)
def test_spelling_does_not_matter(what):
    assert parse_policy(SAME[what].encode("latin-1")) == Policy(
        (PolicyLog(L, "https://log.example/"),), (PolicyWitness("w", cosigner(1)),), (), "w"
    )


def test_names_are_opaque_bytes():
    data = b"witness K\xff %s\nwitness \xe2\x84\xaa %s\nwitness K %s\ngroup all any K\xff K\nquorum all\n" % tuple(
        text.encode() for text in W[1:4]
    )
    policy = parse_policy(data)
    assert policy.to_bytes() == data.replace(b"group all any", b"group all 1")
    assert policy.satisfied(["K"])
    assert not policy.satisfied(["\u212a"])


@st.composite
def policies(draw) -> Policy:
    """Any policy: witnesses, groups of what stands before them, a quorum."""
    count = draw(st.integers(0, 8))
    witnesses = tuple(
        PolicyWitness(f"w{number}", cosigner(number), draw(st.sampled_from([None, "https://w.example/"])))
        for number in range(count)
    )
    free = [witness.name for witness in witnesses]
    groups = []
    while len(free) > 1 and draw(st.booleans()):
        members = draw(st.lists(st.sampled_from(free), min_size=1, unique=True))
        group = PolicyGroup(f"g{len(groups)}", draw(st.integers(1, len(members))), tuple(members))
        free = [name for name in free if name not in members] + [group.name]
        groups.append(group)
    names = [NONE, *(witness.name for witness in witnesses), *(group.name for group in groups)]
    logs = tuple(PolicyLog(log_line_key(number, f"log/{number}")) for number in range(draw(st.integers(0, 3))))
    return Policy(logs, witnesses, tuple(groups), draw(st.sampled_from(names)))


@given(policies())
def test_every_policy_reads_back(policy):
    assert parse_policy(policy.to_bytes()) == policy


@given(policies(), st.data())
def test_more_cosigners_never_break_a_quorum(policy, data):
    names = [witness.name for witness in policy.witnesses]
    some = data.draw(st.sets(st.sampled_from(names))) if names else set()
    more = some | (data.draw(st.sets(st.sampled_from(names))) if names else set())
    assert policy.satisfied(some) <= policy.satisfied(more)
    assert policy.satisfied(names)
    assert policy.satisfied([]) == (policy.quorum == NONE)
    if policy.quorum not in names:  # the name of a group is nobody's cosignature
        assert policy.satisfied([policy.quorum]) == (policy.quorum == NONE)


def test_a_deep_chain_of_groups_is_no_danger():
    lines = [
        f"witness w {W[1]}",
        "group g0 all w",
        *(f"group g{n} all g{n - 1}" for n in range(1, 20_000)),
        "quorum g19999",
    ]
    policy = parse_policy(("\n".join(lines) + "\n").encode())
    assert policy.satisfied(["w"])
    assert not policy.satisfied([])


TWO = f"witness a {W[1]}\nwitness b {W[2]}\n"
MALFORMED = {
    "empty": "",
    "comment only": "# nothing\n",
    "no quorum": TWO,
    "two quorums": TWO + "quorum a\nquorum a\n",
    "quorum of nobody": TWO + "quorum c\n",
    "quorum of a log's name": f"log {L}\nquorum example.com/log\n",
    "quorum before its witness": f"quorum a\n{TWO}",
    "quorum of two": TWO + "quorum a b\n",
    "quorum without a name": TWO + "quorum\n",
    "unknown keyword": TWO + "quorum a\nwitnesses c\n",
    "keyword in capitals": TWO + "Quorum a\n",
    "log without a key": "log\nquorum none\n",
    "log with too much": f"log {L} https://a b\nquorum none\n",
    "log with a bad key": "log example.com/log+00000000+AAAA\nquorum none\n",
    "log with a witness's key": f"log {W[1]}\nquorum none\n",
    "log twice": f"log {L}\nlog {L}\nquorum none\n",
    "log's key under another name": f"log {L}\nlog {log_line_key(0, 'other')}\nquorum none\n",
    "witness without a key": "witness a\nquorum none\n",
    "witness without a name": f"witness {W[1]}\nquorum none\n",
    "witness with too much": f"witness a {W[1]} https://a b\nquorum none\n",
    "witness with a log's key": f"witness a {L}\nquorum a\n",
    "witness with a bad key": f"witness a {W[1]}A\nquorum a\n",
    "witness's name twice": f"witness a {W[1]}\nwitness a {W[2]}\nquorum a\n",
    "witness's key twice": f"witness a {W[1]}\nwitness b {W[1]}\nquorum a\n",
    "witness's key under another name": f"witness a {W[1]}\nwitness b {cosigner(1, 'other')}\nquorum a\n",
    "witness none": f"witness none {W[1]}\nquorum none\n",
    "group none": TWO + "group none any a\nquorum none\n",
    "group of none": TWO + "group g any none\nquorum g\n",
    "group of nobody": TWO + "group g any\nquorum g\n",
    "group without a threshold": TWO + "group g a b\nquorum g\n",
    "group of 0": TWO + "group g 0 a b\nquorum g\n",
    "group of more than all": TWO + "group g 3 a b\nquorum g\n",
    "group of 01": TWO + "group g 01 a b\nquorum g\n",
    "group of +1": TWO + "group g +1 a b\nquorum g\n",
    "group of -1": TWO + "group g -1 a b\nquorum g\n",
    "group of most": TWO + "group g most a b\nquorum g\n",
    "group with a member twice": TWO + "group g 2 a a\nquorum g\n",
    "witness in two groups": TWO + "group g any a\ngroup h any a b\nquorum h\n",
    "group in two groups": TWO + "group g any a\ngroup h any g\ngroup i any g b\nquorum i\n",
    "group of itself": TWO + "group g any g\nquorum g\n",
    "group before its member": f"witness a {W[1]}\ngroup g any a b\nwitness b {W[2]}\nquorum g\n",
    "group named as a witness": TWO + "group a any b\nquorum a\n",
    "group twice": TWO + "group g any a\ngroup g any b\nquorum g\n",
    "no last newline": TWO + "quorum a",
    "carriage return": TWO + "quorum a\r\n",
    "nul": TWO + "# \x00\nquorum a\n",
    "delete": TWO + "# \x7f\nquorum a\n",
    "vertical tab": TWO + "quorum\x0ba\n",
    "no-break space": TWO + "quorum\u00a0a\n",
    "key that is not UTF-8": "log \udcff+00000000+AAAA\nquorum none\n",
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_policy_is_refused(what):
    with pytest.raises(EncodingError, check=lambda error: error.code == "malformed"):
        parse_policy(MALFORMED[what].encode("utf-8", "surrogateescape"))


def test_the_line_is_named():
    with pytest.raises(EncodingError, match="Line 4 of the policy: The name is taken"):
        parse_policy(f"# one\n{TWO}witness a {W[3]}\nquorum a\n".encode())


def test_a_policy_that_is_too_long_is_not_looked_into():
    with pytest.raises(EncodingError):
        parse_policy(b"#" * MAX_BYTES + b"\n")


def test_thirty_two_of_each_are_read():
    lines = [f"log {log_line_key(n)}" for n in range(32)]
    lines += [f"witness w{n} {cosigner(n)}" for n in range(32)]
    lines += [f"group g{n} all w{n}" for n in range(32)]
    policy = parse_policy(("\n".join([*lines, "quorum g31"]) + "\n").encode())
    assert (len(policy.logs), len(policy.witnesses), len(policy.groups)) == (32, 32, 32)


# --- What is believed -----------------------------------------------------------------------------

CHECKPOINT = Checkpoint("example.com/log", 5, bytes(32))
THREE = parse_policy(
    f"log {L}\nwitness a {W[1]}\nwitness b {W[2]}\nwitness c {W[3]}\ngroup g 2 a b c\nquorum g\n".encode()
)


def checked(*signatures: Signature, checkpoint: Checkpoint = CHECKPOINT) -> SignedCheckpoint:
    return SignedCheckpoint(checkpoint, Note(checkpoint.text, signatures))


def by_log(checkpoint: Checkpoint = CHECKPOINT, number: int = 0) -> Signature:
    return sign(checkpoint.text, "example.com/log", signing_key(1000 + number))


def by(number: int, checkpoint: Checkpoint = CHECKPOINT, time: int = 1_800_000_000) -> Signature:
    return cosign(checkpoint.text, f"witness.example/w{number}", signing_key(number), time)


def test_a_quorum_makes_a_checkpoint_final():
    final = THREE.check(checked(by(3), by_log(), by(1), by(7)))
    assert final.checkpoint == CHECKPOINT
    assert final.witnesses == ("a", "c")
    assert sorted(one.time or 0 for one in final.verified) == [0, 1_800_000_000, 1_800_000_000]


OTHER_ORIGIN = Checkpoint("example.com/other", 5, bytes(32))
BAD = {
    "no signature of the log": ("bad_signature", checked(by(1), by(2))),
    "log signature of another key": ("bad_signature", checked(by_log(number=1), by(1), by(2))),
    "log signature over another text": ("bad_signature", checked(by_log(replace(CHECKPOINT, size=6)), by(1), by(2))),
    "one cosignature": ("not_final", checked(by_log(), by(1))),
    "none": ("not_final", checked(by_log())),
    "one known, one stranger": ("not_final", checked(by_log(), by(1), by(7))),
    "one witness twice": ("duplicate_signature", checked(by_log(), by(1), by(1))),
    "one witness at two times": ("duplicate_signature", checked(by_log(), by(1), by(1, time=5))),
    "a cosignature of another checkpoint": ("bad_signature", checked(by_log(), by(1), by(2, replace(CHECKPOINT, size=6)))),
    "three, one of them bad": ("bad_signature", checked(by_log(), by(1), by(2), Signature("witness.example/w3", cosigner(3).id, bytes(72)))),
    "a witness's plain signature": ("not_final", checked(by_log(), by(1), sign(CHECKPOINT.text, "witness.example/w2", signing_key(2)))),
    "another origin": ("unknown_log", checked(sign(OTHER_ORIGIN.text, "example.com/log", signing_key(1000)), by(1, OTHER_ORIGIN), by(2, OTHER_ORIGIN), checkpoint=OTHER_ORIGIN)),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_checkpoint_is_not_believed(what):
    code, signed = BAD[what]
    with refused(code):
        THREE.check(signed)


def test_one_log_does_not_sign_for_another():
    second = log_line_key(1, "example.com/other")
    policy = replace(THREE, logs=(*THREE.logs, PolicyLog(second)), quorum=NONE)
    own = sign(OTHER_ORIGIN.text, "example.com/other", signing_key(1001))
    assert policy.check(checked(own, checkpoint=OTHER_ORIGIN)).witnesses == ()
    foreign = sign(OTHER_ORIGIN.text, "example.com/log", signing_key(1000))
    with refused("bad_signature"):
        policy.check(checked(foreign, checkpoint=OTHER_ORIGIN))


def test_either_of_two_keys_of_a_log_is_enough():
    policy = replace(THREE, logs=(*THREE.logs, PolicyLog(log_line_key(1))), quorum=NONE)
    for number in (0, 1):
        assert policy.check(checked(by_log(number=number))).checkpoint == CHECKPOINT


def test_a_policy_without_logs_believes_nothing():
    with refused("unknown_log"):
        replace(THREE, logs=()).check(checked(by_log(), by(1), by(2)))


# --- The network's own ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def net() -> SimulatedNetwork:
    return make_network(("icbc", "jd", "none", "others", "unionpay"), now=NOW)


def final_by(net: SimulatedNetwork, policy: Policy, *names: str) -> tuple[str, ...]:
    checkpoint = Checkpoint(origin_of(net.name, "icbc"), 9, bytes(32))
    note = sign_checkpoint(checkpoint, net.members["icbc"].ledger)
    made = [cosign(checkpoint.text, witness_name(net.name, name), net.members[name].witness, 5) for name in names]
    return policy.check(SignedCheckpoint(checkpoint, note.with_signatures(made))).witnesses


def test_the_policy_of_a_network_reads_back(net):
    policy = network_policy(net.registry, "icbc", NOW)
    assert parse_policy(policy.to_bytes()) == policy
    assert [log.key for log in policy.logs] == [log_key(net.name, "icbc", net.members["icbc"].ledger.public)]
    assert [witness.name for witness in policy.witnesses] == [f"witness/{name}" for name in ("jd", "none", "others", "unionpay")]  # fmt: skip
    assert policy.groups == (PolicyGroup("quorum", 3, tuple(witness.name for witness in policy.witnesses)),)


def test_any_three_of_the_four_others_make_it_final(net):
    policy, others = network_policy(net.registry, "icbc", NOW), ("jd", "none", "others", "unionpay")
    for chosen in combinations(others, 3):
        assert final_by(net, policy, *chosen) == tuple(f"witness/{name}" for name in chosen)
    for chosen in combinations(others, 2):
        with refused("not_final"):
            final_by(net, policy, *chosen)
        with refused("not_final"):  # a member does not witness its own log
            final_by(net, policy, *chosen, "icbc")


@pytest.mark.parametrize(("others", "needed"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (6, 5), (7, 5), (9, 7)])
def test_the_quorum_of_the_protocol(others, needed):
    net = make_network(tuple(f"m{number}" for number in range(others + 1)), now=NOW)
    policy = network_policy(net.registry, "m0", NOW)
    assert policy.groups[-1].needed == needed == 1 + 2 * others // 3
    assert len(policy.groups[-1].members) == others


def test_a_member_alone_has_nothing_final():
    net = make_network(("icbc",), now=NOW)
    with pytest.raises(RegistryError, check=lambda error: error.code == "no_witnesses"):
        network_policy(net.registry, "icbc", NOW)


def test_a_stranger_has_no_policy(net):
    with pytest.raises(RegistryError, check=lambda error: error.code == "unknown_member"):
        network_policy(net.registry, "nobody", NOW)


def test_a_suspended_member_is_no_witness():
    net = make_network(("icbc", "jd", "telco", "unionpay"), now=NOW)
    net.change("jd", standing="suspended")
    policy = network_policy(net.registry, "icbc", NOW)
    assert policy.groups == (PolicyGroup("quorum", 2, ("witness/telco", "witness/unionpay")),)


def test_a_member_that_changes_its_key_counts_once():
    net = make_network(("icbc", "jd", "telco"), now=NOW)
    second = signing_key(77)
    terms = net.registry.members["jd"].witness
    net.change("jd", witness=(*terms, KeyTerm(second.public, NOW)))
    policy = network_policy(net.registry, "icbc", NOW)
    assert parse_policy(policy.to_bytes()) == policy
    assert policy.groups[-1] == PolicyGroup("quorum", 2, ("witness/jd", "witness/telco"))
    both = [f"witness/jd/{key.hex()}" for key in (terms[0].public, second.public)]
    assert policy.groups[0] == PolicyGroup("witness/jd", 1, tuple(both))
    assert not policy.satisfied(both)
    for one in both:
        assert policy.satisfied([one, "witness/telco"])


def test_keys_count_only_in_their_term():
    net = make_network(("icbc", "jd"), now=NOW)
    (term,) = net.registry.members["jd"].witness
    net.change("jd", witness=(replace(term, valid_until=NOW + timedelta(days=1)),))
    assert witness_keys(net.registry, "jd", NOW) == (witness_key(net.name, "jd", term.public),)
    assert witness_keys(net.registry, "jd", NOW + timedelta(days=1)) == ()
    with pytest.raises(RegistryError, check=lambda error: error.code == "no_witnesses"):
        network_policy(net.registry, "icbc", NOW + timedelta(days=1))
    net.change("jd", ledger=(replace(net.registry.members["jd"].ledger[0], compromised_from=NOW),))
    assert log_keys(net.registry, "jd", NOW) == ()
    assert log_keys(net.registry, "nobody", NOW) == () == witness_keys(net.registry, "nobody", NOW)
