"""Real peers: both sides know that the other has accounted; what members hold is compared; who stops is not answered."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime

import asyncpg
import pytest

from riskshare.encoding import cbor_decode, parse_canonical_json
from riskshare.generate import generate, stream
from riskshare.governance import read_registry
from riskshare.ledger.checkpoint import Checkpoint, origin_of, parse_signed, sign_checkpoint
from riskshare.ledger.leaf import Leaf
from riskshare.ledger.merkle import pieces
from riskshare.ledger.proof import verify_inclusion
from riskshare.sharing.evidence import verify_evidence
from riskshare.statement import sign
from tests.network.conftest import MakeNetwork
from tests.simulator.running import BANK, SHOP, TELECOM, Running, until

LISTED = generate(402, 20, ("phone",))
NAMES = ("bank", "shop", "telecom")


@pytest.fixture(scope="module")
def network(make_network: MakeNetwork) -> Running:
    made = make_network(BANK, SHOP, TELECOM)
    made.publish("shop", "fraud", LISTED)
    made.start(program=made.hurried())
    made.ready()
    return made


def execute(network: Running, name: str, *statements: str) -> None:
    """Change a member's database behind its back."""

    async def run() -> None:
        connection = await asyncpg.connect(network.dsn(name))
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def accounts(network: Running, name: str, member: str, kind: str) -> dict[bytes, asyncpg.Record]:
    query = "select * from ledger_accounts where member = $1 and kind = $2"
    return {row["source"]: row for row in network.rows(name, query, member, kind)}


def test_each_side_of_a_receipt_has_the_proof_of_the_other(network: Running) -> None:
    network.check("bank", LISTED[0])
    for name, member in {"bank": "shop", "shop": "bank"}.items():
        receipts = {bytes.fromhex(digest): data for digest, data in network.receipts(name).items()}
        found = until(
            lambda name=name, member=member, receipts=receipts: (
                rows if (rows := accounts(network, name, member, "receipt")).keys() == receipts.keys() else None
            ),
            f"{name} to know what {member} has accounted for",
        )
        for source, row in found.items():
            # The proof leads to a checkpoint that the counterparty really signed.
            [kept] = network.rows(member, "select root from ledger_checkpoints where size = $1", row["size"]) or [None]
            if kept is not None:
                leaf = Leaf("receipt", row["salt"], receipts[source])
                verify_inclusion(leaf.hash, row["index"], row["size"], pieces(row["proof"]), kept["root"])


def test_statements_of_an_owner_get_their_proofs_at_all_who_hold_them(network: Running) -> None:
    newest = {
        "snapshot": "select digest, salt from snapshots order by version desc limit 1",
        "epoch": "select digest, salt from epochs",
    }

    def found(name: str, kind: str) -> tuple[object, object] | None:
        """The salt that the owner has, of the newest by now, and the one that the other was shown."""
        [row] = network.rows("shop", newest[kind])
        account = accounts(network, name, "shop", kind).get(row["digest"])
        return None if account is None else (row["salt"], account["salt"])

    for name in ("bank", "telecom"):
        for kind in newest:
            salts = until(lambda name=name, kind=kind: found(name, kind), f"{name} to have the proof of the {kind}")
            assert salts[0] == salts[1]


def test_what_is_known_of_the_others_is_shown(network: Running) -> None:
    def known() -> dict[str, dict[str, object]] | None:
        logs = {member["member"]: member["log"] for member in network.get("bank", "/v1/members")["members"]}
        assert logs.pop("bank") is None
        return (
            logs if all(log is not None and log["final_size"] and not log["missing"] for log in logs.values()) else None
        )

    for log in until(known, "the others' logs to be followed").values():
        assert not log["stalled"]
        assert log["size"] >= log["final_size"]
    until(lambda: network.metric("bank", "ledger_missing", member="shop") == 0, "nothing to be missing")
    assert network.metric("bank", "ledger_stalled", member="shop") == 0


def test_an_entry_that_is_lost_here_is_asked_for_again(network: Running) -> None:
    """As after a database that came back from a backup: the mark is ahead of the rows."""
    network.check("bank", LISTED[1])
    [row] = until(
        lambda: network.rows(
            "bank", "select source from ledger_accounts where member = 'shop' order by index desc limit 1"
        ),
        "an account",
    )
    source = row["source"].hex()
    execute(
        network,
        "bank",
        f"delete from ledger_accounts where source = '\\x{source}'",
        f"insert into ledger_awaited values ('shop', 'receipt', '\\x{source}', now())",
    )
    until(
        lambda: row["source"] in accounts(network, "bank", "shop", "receipt"), "the entry to be there again", seconds=90
    )
    until(lambda: not network.rows("bank", "select 1 from ledger_awaited"), "nothing to be missing")


def test_a_member_that_stops_publishing_its_log_is_not_answered_until_it_goes_on(network: Running) -> None:
    execute(network, "bank", "insert into ledger_state (halted_code, halted_why) values ('test', 'A test.')")
    waiting = "select waiting_since, grown_at from ledger_followed where member = 'bank' and waiting_since > grown_at"

    fresh = stream(406, ("phone",))

    def asked() -> bool:
        """Each time something new: what is cached leaves no receipt, and the first may precede a look at the log."""
        network.check("bank", next(fresh))
        return bool(network.rows("shop", waiting))

    def for_long() -> tuple[int, str] | None:
        """Again and again: a round that was under way writes over it."""
        execute(
            network,
            "shop",
            "update ledger_followed set grown_at = grown_at - interval '11 min',"
            " waiting_since = waiting_since - interval '11 min'"
            " where member = 'bank' and waiting_since > now() - interval '11 min'",
        )
        return _refused(network)

    until(asked, "the shop to wait for the bank's log")
    assert until(for_long, "the bank to be refused") == (403, "log_stalled")
    assert network.metric("shop", "ask_refusals_total", code="log_stalled") > 0
    assert [line["member"] for line in network.log("shop", "log_stalled")] == ["bank"]
    # Others are answered, and the bank still reads.
    assert network.evaluate("telecom", "shop").status == 200
    execute(network, "bank", "delete from ledger_state")
    until(lambda: _refused(network) is None, "the bank to be answered again")
    assert network.log("shop", "log_goes_on")


def _refused(network: Running) -> tuple[int, str] | None:
    answer = network.evaluate("bank", "shop")
    return None if answer.status == 200 else (answer.status, answer.problem["code"])


def test_a_log_that_showed_somebody_another_tree_is_convicted_by_all_who_compare(network: Running) -> None:
    """Telecom was shown another beginning of the shop's log, signed by the shop."""
    registry = read_registry(network.directory / "network.json")
    key = network.member("shop").keys.ledger
    convicted = "select evidence from fraud_proofs where kind = 'two_histories'"

    def deceived() -> list[asyncpg.Record]:
        """Again and again: a round that was under way writes over it."""
        [row] = network.rows("telecom", "select size from ledger_followed where member = 'shop'")
        forged = Checkpoint(origin_of(registry.network, "shop"), row["size"], bytes(32))
        note = sign_checkpoint(forged, key).to_bytes()
        assert parse_signed(note).checkpoint == forged
        encoded = base64.b64encode(note).decode()
        execute(
            network,
            "telecom",
            f"update ledger_followed set note = decode('{encoded}', 'base64'), root = '\\x{bytes(32).hex()}'"
            f" where member = 'shop' and size = {row['size']}",
        )
        return network.rows("telecom", convicted)

    until(deceived, "telecom to convict the shop")
    for name in ("telecom", "bank"):
        # A round may have met more than one of the checkpoints that were forged: each is evidence.
        for row in until(lambda name=name: network.rows(name, convicted), f"{name} to convict the shop", seconds=120):
            found = verify_evidence(row["evidence"], registry, datetime.now(UTC))
            assert (found.accused, found.kind) == ("shop", "two_histories")
        until(lambda name=name: network.log(name, "fraud_found"), "the line of the log")
        until(lambda name=name: network.metric(name, "fraud_proofs", member="shop", kind="two_histories"), "the metric")


def test_a_fork_that_was_shown_at_an_older_version_is_found(network: Running) -> None:
    """Telecom was shown another first version of the shop's list, signed by the shop; by now that is nobody's newest."""
    query = "select key, wire, version from held_snapshots where list_name = 'shop/fraud' order by version"
    for count in (1, 2):
        network.publish("shop", "fraud", generate(403 + count, 5, ("phone",)))
        for name in ("bank", "telecom"):
            until(
                lambda name=name, count=count: len(network.rows(name, query)) > count, f"version {count + 1} at {name}"
            )
    row, other = (network.rows(name, query)[0] for name in ("telecom", "bank"))
    assert (row["version"], row["key"], row["wire"]) == (1, other["key"], other["wire"])
    registry = read_registry(network.directory / "network.json")
    body = parse_canonical_json(cbor_decode(row["wire"], limit=1 << 20)["statement"], limit=1 << 20)
    body["count"] += 1
    forged = sign("snapshot", registry.network, body, network.member("shop").keys.identity)
    execute(
        network,
        "telecom",
        f"update held_snapshots set digest = '\\x{forged.digest.hex()}', wire = '\\x{forged.wire().hex()}',"
        f" seq = default where key = '\\x{row['key'].hex()}'",
    )
    [found] = until(
        lambda: network.rows("bank", "select evidence from fraud_proofs where kind = 'snapshot'"),
        "the bank to convict the shop",
        seconds=60,
    )
    evidence = verify_evidence(found["evidence"], registry, datetime.now(UTC))
    assert (evidence.accused, evidence.kind) == ("shop", "snapshot")
    until(lambda: network.metric("bank", "fraud_proofs", member="shop", kind="snapshot"), "the metric")
