"""`ledger`: a member's own log on a real PostgreSQL, and verifying it as a stranger would."""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
from datetime import UTC, datetime, timedelta

import pytest

from riskshare.config import Config
from riskshare.encoding import canonical_json
from riskshare.governance import admit, create_member, read_registry, set_standing
from riskshare.keys import read_member_keys
from riskshare.ledger.bundle import grow_bundles
from riskshare.ledger.checkpoint import (
    Checkpoint,
    SignedCheckpoint,
    origin_of,
    parse_signed,
    sign_checkpoint,
    witness_name,
)
from riskshare.ledger.edge import Edge
from riskshare.ledger.histories import TwoHistories
from riskshare.ledger.kept import AccountRow, FollowedRow, Head, Written
from riskshare.ledger.merkle import leaf_hash, node_hash
from riskshare.ledger.note import cosign
from riskshare.ledger.receipt import KeptReceipt, Receipt
from riskshare.ledger.sealed import SealedCheck
from riskshare.peer.opening import new_id, opened_store
from riskshare.query.message import Ask
from riskshare.sharing.kept import FraudProofRow
from riskshare.store.exchange import OwnerCommits

NAMES = ("bank", "card", "shop", "telecom", "wallet")
NOW = datetime.now(UTC).replace(microsecond=0)
SECOND = int(NOW.timestamp())
_numbers = itertools.count(1)


class Own:
    """The member `bank`: things are kept as its peer keeps them, and its log grows as by its sequencer."""

    def __init__(self, folder, network, config_files):
        self.folder, self.network, self.config_files = folder, network, config_files
        self.config_file = config_files["bank"]
        self.registry = read_registry(network / "network.json")
        self.keys = {name: read_member_keys(folder / name / "keys") for name in NAMES}

    def do(self, work):
        """Run `work(store)` on the member's database."""

        async def run():
            async with opened_store(Config.load(self.config_file)) as store:
                return await work(store)

        return asyncio.run(run())

    def keep(self, count, counterparty="shop"):
        """Keep receipts; gives their ids."""
        receipts = [receipt(counterparty) for _ in range(count)]

        async def work(store):
            commits = OwnerCommits(store)
            await asyncio.gather(*map(commits.keep, receipts))
            await commits.close()

        self.do(work)
        return [kept.receipt.id.hex() for kept in receipts]

    def grow(self):
        """Make all that is pending entries of the log, under a new head."""

        def make(held, entries):
            size = held.head.size if held.head else 0
            growth = Edge.read(size, held.tiles).append([leaf_hash(entry) for entry in entries])
            origin = origin_of(self.registry.network, "bank")
            checkpoint = Checkpoint(origin, growth.edge.size, growth.edge.root())
            note = sign_checkpoint(checkpoint, self.keys["bank"].ledger)
            head = Head(checkpoint.size, checkpoint.root, note.to_bytes(), NOW)
            return Written(head, growth.tiles, grow_bundles(size, held.bundle, entries))

        return self.do(lambda store: store.ledger.grow(10_000, make))

    def cosign(self, *names, final=True, time=SECOND):
        """Keep the cosignatures of these members on the head, made at `time` in seconds since 1970."""

        async def work(store):
            head = await store.ledger.head()
            text = parse_signed(head.note).note.text
            made = [
                cosign(text, witness_name(self.registry.network, name), self.keys[name].witness, time) for name in names
            ]
            await store.ledger.cosign(head.size, made, final=NOW if final else None)

        self.do(work)

    def final(self, count=1):
        """Keep receipts, and make them final; gives their ids."""
        found = self.keep(count)
        self.grow()
        self.cosign("card", "shop", "telecom")
        return found


def receipt(counterparty):
    ask = Ask(
        batch=new_id(),
        network="riskshare",
        registry=2,
        querier=counterparty,
        owner="bank",
        epoch=bytes(32),
        purpose="payment",
        count=1,
        elements=bytes(32),
        snapshots={},
        asked_at=NOW,
    )
    halves = Receipt(canonical_json(ask.body()), secrets.token_bytes(64), b'{"answer":1}', secrets.token_bytes(64))
    return KeptReceipt(
        side="owner",
        counterparty=counterparty,
        batch=ask.batch,
        epoch=bytes(32),
        count=1,
        receipt=halves,
        elements=bytes(32),
        evaluated=bytes(32),
        proof=b"",
        salt=secrets.token_bytes(16),
    )


@pytest.fixture
def own(tmp_path, network, server):
    files, now = {}, datetime.now(UTC)
    for number, name in enumerate(NAMES):
        made = create_member(
            tmp_path / name,
            name,
            f"https://127.0.0.1:{8443 + number}",
            now=now,
            network_file=network / "network.json",
            settings={"store": {"server_dir": server.directory, "database": f"ledger_{next(_numbers)}"}},
        )
        files[name] = made.config_file
    admit(network, [tmp_path / name / "join.json" for name in NAMES], now=now)
    return Own(tmp_path, network, files)


@pytest.fixture
def on(own, answer):
    """A ledger command of the member, with --json; gives its exit code and its only object."""

    def call(*words):
        code, [shown] = answer("ledger", *words, "--config", own.config_file)
        return code, shown

    return call


@pytest.fixture
def verify(answer):
    def call(*words):
        code, [shown] = answer("ledger", "verify", *words)
        return code, shown

    return call


# --- export and verify --------------------------------------------------------------------------------


def test_an_export_is_verified_by_whoever_has_the_policy(own, on, verify, run):
    own.final(300)
    code, done = on("export", "--out", "log")
    assert (code, done["size"], done["written"], done["removed"]) == (0, 300, 7, 0)
    assert on("export", "--out", "log")[1]["written"] == 0
    code, found = verify("log", "--policy", "log/policy")
    assert code == 0
    assert (found["verified"], found["size"], found["bundles"], found["tiles"]) == ("log", 300, 2, 3)
    assert found["origin"] == "riskshare/riskshare/bank"
    assert found["cosigned_by"] == ["witness/card", "witness/shop", "witness/telecom"]
    text = run("ledger", "verify", "log", "--policy", "log/policy")
    assert "The log holds: 300 entries" in text.stdout
    assert "The policy came with the log" in text.stderr
    assert "witness/card" in text.stdout


def test_an_export_grows_with_the_log(own, on, verify):
    own.final(300)
    on("export", "--out", "log")
    own.final(10)
    code, done = on("export", "--out", "log")
    assert (code, done["size"], done["written"], done["removed"]) == (0, 310, 3, 2)
    assert verify("log", "--policy", "log/policy")[0] == 0


def test_what_is_not_final_is_not_exported(own, on, verify):
    own.final(3)
    own.keep(4)
    own.grow()
    own.keep(2)
    assert on("export", "--out", "log")[1]["size"] == 3
    assert verify("log", "--policy", "log/policy")[1]["size"] == 3


def test_an_export_needs_something_final(own, on):
    own.keep(1)
    own.grow()
    code, shown = on("export", "--out", "log")
    assert (code, shown["error"]["code"]) == (1, "not_final")


def test_an_export_of_a_damaged_log_names_what_is_missing(own, on):
    own.final(300)
    own.do(lambda store: store.pool.execute("delete from ledger_tiles where level = 0 and index = 1"))
    code, shown = on("export", "--out", "log")
    assert (code, shown["error"]["code"]) == (1, "missing_part")
    assert "tile/0/001.p/44" in shown["error"]["message"]


def test_one_byte_is_found_and_named(own, on, verify, tmp_path):
    own.final(300)
    on("export", "--out", "log")
    file = tmp_path / "log/tile/entries/000"
    data = bytearray(file.read_bytes())
    data[34 * 7 + 20] ^= 1
    file.write_bytes(data)
    code, shown = verify("log", "--policy", "log/policy")
    assert (code, shown["error"]["code"]) == (1, "wrong_bundle")
    assert "Entry 7 in tile/entries/000" in shown["error"]["message"]


def test_what_cannot_be_tried_is_2(own, on, run):
    own.final(1)
    on("export", "--out", "log")
    for words in (
        ["log"],
        ["log", "--policy", "absent"],
        ["log", "--policy", "log/checkpoint"],
        ["absent", "--policy", "log/policy"],
        ["log/checkpoint", "--policy", "log/policy"],
        ["https://", "--policy", "log/policy"],
        ["https://h/?q", "--policy", "log/policy"],
        ["http://127.0.0.1:1", "--policy", "log/policy"],
    ):
        assert run("ledger", "verify", *words).exit_code == 2, words


def test_a_log_that_cannot_be_reached_is_no_finding(own, on, verify, unused_tcp_port):
    own.final(1)
    on("export", "--out", "log")
    code, shown = verify(f"https://127.0.0.1:{unused_tcp_port}", "--policy", "log/policy")
    assert (code, shown["error"]["code"]) == (2, "peer_down")


def test_a_registry_that_is_not_believed_is_no_finding(own, on, verify, network, tmp_path):
    own.final(1)
    on("export", "--out", "log")
    (tmp_path / "altered").write_bytes((network / "network.json").read_bytes().replace(b'"CNY"', b'"EUR"'))
    code, shown = verify("https://127.0.0.1:1", "--policy", "log/policy", "--registry", "altered")
    assert (code, shown["error"]["code"]) == (2, "bad_signature")


def test_the_policy_of_another_member_does_not_know_the_log(own, on, verify, tmp_path):
    own.final(1)
    on("export", "--out", "log")
    text = (tmp_path / "log/policy").read_text().splitlines(keepends=True)
    (tmp_path / "other").write_text("".join(line for line in text if not line.startswith("log ")))
    code, shown = verify("log", "--policy", "other")
    assert (code, shown["error"]["code"]) == (1, "unknown_log")


# --- proof ----------------------------------------------------------------------------------------------


def test_a_proof_of_a_receipt_holds_without_the_member(own, on, verify, run, tmp_path):
    ids = own.final(20)
    code, made = on("proof", ids[7], "--out", "proof")
    assert (code, made["kind"], made["size"], made["log"]) == (0, "receipt", 20, "riskshare/riskshare/bank")
    on("export", "--out", "log")
    code, found = verify("proof", "--policy", "log/policy")
    assert (code, found["verified"], found["kind"], found["index"]) == (0, "proof", "receipt", made["index"])
    assert found["statement"] == ids[7]
    assert (found["querier"], found["owner"], found["purpose"]) == ("shop", "bank", "payment")
    assert "The proof holds" in run("ledger", "verify", "proof", "--policy", "log/policy").stdout


def test_a_proof_of_a_check_by_its_id(own, on, verify):
    check = sealed_check()

    async def work(store):
        from riskshare.store.exchange import QuerierCommits  # noqa: PLC0415

        commits = QuerierCommits(store)
        await commits.keep(check, [])
        await commits.close()

    own.do(work)
    own.final()
    for text, out in ((str(check.id), "proof"), (check.id.hex, "again")):
        code, made = on("proof", text, "--out", out)
        assert (code, made["kind"]) == (0, "check")
    on("export", "--out", "log")
    code, found = verify("proof", "--policy", "log/policy")
    assert (code, found["kind"]) == (0, "check")


def sealed_check():
    return SealedCheck(
        id=new_id(),
        answered_at=NOW,
        hour_key=new_id(),
        record=secrets.token_bytes(600),
        statement=b'{"check":1}',
        signature=secrets.token_bytes(64),
        salt=secrets.token_bytes(16),
    )


def test_any_altered_byte_of_a_proof_is_found_offline(own, on, run, tmp_path):
    [receipt_id] = own.final()
    on("proof", receipt_id, "--out", "proof")
    on("export", "--out", "log")
    whole = (tmp_path / "proof").read_bytes()
    for place in range(0, len(whole), 37):
        altered = bytearray(whole)
        altered[place] ^= 1
        (tmp_path / "proof").write_bytes(altered)
        code = run("ledger", "verify", "proof", "--policy", "log/policy").exit_code
        assert code == (2 if place < len("c2sp.org/tlog-proof@") else 1), place


def test_a_malformed_proof_is_a_finding(own, on, verify, tmp_path):
    own.final()
    on("export", "--out", "log")
    (tmp_path / "proof").write_text("c2sp.org/tlog-proof@v1\nnonsense\n")
    code, shown = verify("proof", "--policy", "log/policy")
    assert (code, shown["error"]["code"]) == (1, "malformed_proof")


def test_what_is_no_id_is_bad_usage(on):
    for text in ("", "5b2f", "x" * 64, "phone:+8613800138000"):
        code, shown = on("proof", text, "--out", "proof")
        assert (code, shown["error"]["code"]) == (2, "invalid_input")
        assert not text or text not in shown["error"]["message"]


def test_an_unknown_receipt_is_told_as_such(on):
    for text in ("ab" * 32, "ab" * 16, str(new_id())):
        code, shown = on("proof", text, "--out", "proof")
        assert (code, shown["error"]["code"]) == (2, "unknown_receipt")


def test_a_receipt_that_is_not_on_the_ledger_yet(own, on):
    [receipt_id] = own.keep(1)
    code, shown = on("proof", receipt_id, "--out", "proof")
    assert (code, shown["error"]["code"]) == (1, "not_on_ledger")


def test_a_receipt_that_is_not_final_yet(own, on):
    own.final(2)
    [receipt_id] = own.keep(1)
    own.grow()
    code, shown = on("proof", receipt_id, "--out", "proof")
    assert (code, shown["error"]["code"]) == (1, "not_final")
    assert "2 entries" in shown["error"]["message"]


def test_a_proof_out_of_a_damaged_log_is_not_written(own, on, tmp_path):
    ids = own.final(3)
    own.do(
        lambda store: store.pool.execute("update ledger_tiles set hashes = substr(hashes, 33) || substr(hashes, 1, 32)")
    )
    code, shown = on("proof", ids[0], "--out", "proof")
    assert (code, shown["error"]["code"]) == (1, "wrong_inclusion")
    assert not (tmp_path / "proof").exists()


def test_a_proof_that_cannot_be_written(own, on, tmp_path):
    [receipt_id] = own.final()
    (tmp_path / "file").write_text("")
    code, shown = on("proof", receipt_id, "--out", "file/proof")
    assert (code, shown["error"]["code"]) == (1, "disk")


def test_a_proof_is_for_its_owner_alone_and_replaces_no_file(own, on, tmp_path):
    [first, second] = own.final(2)
    assert on("proof", first, "--out", "proof")[0] == 0
    assert (tmp_path / "proof").stat().st_mode & 0o777 == 0o600
    kept = (tmp_path / "proof").read_bytes()
    code, shown = on("proof", second, "--out", "proof")
    assert (code, shown["error"]["code"]) == (2, "config")
    assert (tmp_path / "proof").read_bytes() == kept


# --- status ---------------------------------------------------------------------------------------------


def test_the_status_of_a_log_that_is_new(own, on, run):
    code, shown = on("status")
    assert (code, shown["size"], shown["final"], shown["halted"]) == (0, 0, None, None)
    assert shown["quorum"] == {"needed": 3, "others": 4}
    assert [one["member"] for one in shown["witnesses"]] == ["card", "shop", "telecom", "wallet"]
    assert "nothing yet" in run("ledger", "status", "--config", own.config_file).stdout


def test_who_has_cosigned_and_who_lags(own, on, run):
    own.final(20)
    own.keep(5)
    own.grow()
    own.cosign("card", final=False)
    own.keep(3)
    code, shown = on("status")
    assert (code, shown["size"], shown["pending"], shown["final"]["size"]) == (0, 25, 3, 20)
    assert shown["final"]["age_seconds"] >= 0
    assert {one["member"]: (one["size"], one["behind"]) for one in shown["witnesses"]} == {
        "card": (25, 0),
        "shop": (20, 5),
        "telecom": (20, 5),
        "wallet": (None, 25),
    }
    text = run("ledger", "status", "--config", own.config_file).stdout
    assert "5 entries not yet" in text
    assert "3 of 4 other members" in text


def test_a_witness_that_names_a_time_beyond_all_calendars_is_shown(own, on, run):
    own.final(1)
    own.keep(1)
    own.grow()
    own.cosign("wallet", final=False, time=2**62)
    code, shown = on("status")
    assert code == 0
    [wallet] = [one for one in shown["witnesses"] if one["member"] == "wallet"]
    assert (wallet["size"], wallet["cosigned_at"]) == (2, "9999-12-31T23:59:59.000Z")
    assert "9999-12-31 23:59" in run("ledger", "status", "--config", own.config_file).stdout


@pytest.mark.parametrize(("days", "missing"), [(0.02, 2), (30, 2), (179, 2), (181, 0)])
def test_what_others_have_not_accounted_for_within_the_audit_window(own, on, days, missing):
    ids = own.final(3)
    earlier = datetime.now(UTC) - timedelta(days=days)

    async def work(store):
        await store.pool.execute("update receipts set recorded_at = $1", earlier)
        row = AccountRow("receipt", bytes.fromhex(ids[0]), 0, bytes(16), b"", 1, NOW)
        await store.ledger.account("shop", [row])
        await store.ledger.follow(FollowedRow("shop", 1, 7, bytes(32), b"", 7, NOW))

    own.do(work)
    _, shown = on("status")
    assert {one["member"]: (one["unaccounted"], one["log_size"]) for one in shown["witnesses"]} == {
        "card": (0, None),
        "shop": (missing, 7),
        "telecom": (0, None),
        "wallet": (0, None),
    }


def test_a_halted_log_cannot_be_overlooked(own, on, run):
    own.final()
    own.do(lambda store: store.ledger.halt("ledger_behind", "Witnesses have seen more of this log than it has."))
    code, shown = on("status")
    assert (code, shown["halted"]["code"]) == (1, "ledger_behind")
    text = run("ledger", "status", "--config", own.config_file).stdout
    assert text.lstrip().startswith("HALTED (ledger_behind)")
    assert "Witnesses have seen more" in text


def test_a_halt_is_lifted_only_by_who_says_that_it_is_settled(own, on, run):
    assert on("resume", "--settled") == (0, {"halted": None, "lifted": None})
    own.do(lambda store: store.ledger.halt("ledger_behind", "Witnesses have seen more of this log than it has."))
    assert on("resume") == (1, {"halted": "ledger_behind", "lifted": None})
    told = run("ledger", "resume", "--config", own.config_file)
    assert told.exit_code == 1
    assert "HALTED (ledger_behind)" in told.stdout
    assert "Witnesses have seen more" in told.stdout
    assert own.do(lambda store: store.ledger.halted()) is not None
    assert on("resume", "--settled") == (0, {"halted": None, "lifted": "ledger_behind"})
    assert own.do(lambda store: store.ledger.halted()) is None


def test_in_a_small_network_nobody_may_be_away(own, run, network):
    def told():
        return "Nobody may be away" in run("ledger", "status", "--config", own.config_file).stdout

    assert not told()
    for name in ("shop", "wallet"):
        set_standing(network, name, "suspended", now=datetime.now(UTC))
    assert told()


# --- evidence -------------------------------------------------------------------------------------------


def test_fraud_proofs_are_shown_and_written_as_files(own, on, answer, run, tmp_path):
    row = FraudProofRow("snapshot", "shop", bytes(32), b'{"kind":"snapshot"}', NOW)
    own.do(lambda store: store.trust.keep_fraud_proof(row))
    _, shown = on("status")
    assert [one["accused"] for one in shown["fraud_proofs"]] == ["shop"]
    assert "FRAUD PROOF against shop" in run("ledger", "status", "--config", own.config_file).stdout
    code, made = on("evidence", "--out", "evidence")
    assert code == 0
    assert (tmp_path / made["file"]).read_bytes() == row.evidence
    assert answer("ledger", "evidence", "--out", "again", "--config", own.config_files["card"]) == (0, [])


def test_a_suspect_log_is_not_called_convicted(own, run):
    own.do(lambda store: store.trust.keep_fraud_proof(FraudProofRow("suspect_log", "wallet", bytes(32), b"x", NOW)))
    lines = run("ledger", "status", "--config", own.config_file).stdout.splitlines()
    assert any(line.lstrip().startswith("SUSPECT: the log of wallet") for line in lines)
    assert not any("FRAUD PROOF against wallet" in line for line in lines)


def test_a_fraud_proof_needs_the_registry(verify, tmp_path):
    (tmp_path / "proof.fraud").write_text(json.dumps({"accused": "shop"}, separators=(",", ":")))
    code, shown = verify("proof.fraud")
    assert (code, shown["error"]["code"]) == (2, "invalid_input")
    assert "--registry" in shown["error"]["message"]


def test_what_is_no_fraud_proof_is_a_finding(own, verify, tmp_path):
    for data in (b'{"accused":"shop"}', b'{"accused":', b"\x82\x00\x00", b"\x82", b"\x84"):
        (tmp_path / "proof.fraud").write_bytes(data)
        code, _ = verify("proof.fraud", "--registry", own.network / "network.json")
        assert code == 1, data


def test_two_histories_of_a_log_convict_it_before_a_stranger(own, verify, run, tmp_path):
    def signed(size, root, key="shop", of="shop"):
        checkpoint = Checkpoint(origin_of(own.registry.network, of), size, bytes([root]) * 32)
        note = sign_checkpoint(checkpoint, own.keys[key].ledger)
        return SignedCheckpoint(checkpoint, note)

    def verified(first, second):
        (tmp_path / "proof.fraud").write_bytes(TwoHistories(first, second).to_bytes())
        return verify("proof.fraud", "--registry", own.network / "network.json")

    code, found = verified(signed(7, 1), signed(7, 2))
    assert (code, found["verified"], found["kind"], found["accused"]) == (0, "fraud", "two_histories", "shop")
    assert found["registry"] == own.registry.digest.hex()
    text = run("ledger", "verify", "proof.fraud", "--registry", own.network / "network.json").stdout
    assert "The log of shop signed two histories" in text
    code, shown = verified(signed(7, 1), signed(7, 1))
    assert (code, shown["error"]["code"]) == (1, "no_proof")
    code, shown = verified(signed(7, 1, key="bank"), signed(7, 2))
    assert (code, shown["error"]["code"]) == (1, "bad_signature")
    code, shown = verified(signed(7, 1, of="nobody"), signed(7, 2, of="nobody"))
    assert (code, shown["error"]["code"]) == (1, "no_proof")


def test_two_histories_of_two_sizes_convict_a_log_by_its_own_tiles(own, verify, tmp_path):
    def signed(size, root):
        checkpoint = Checkpoint(origin_of(own.registry.network, "shop"), size, root)
        return SignedCheckpoint(checkpoint, sign_checkpoint(checkpoint, own.keys["shop"].ledger))

    def verified(found):
        (tmp_path / "proof.fraud").write_bytes(found.to_bytes())
        return verify("proof.fraud", "--registry", own.network / "network.json")

    entries = [leaf_hash(b"one"), leaf_hash(b"two")]
    large = signed(2, node_hash(*entries))
    code, found = verified(TwoHistories(signed(1, leaf_hash(b"three")), large, entries[0], (entries[1],)))
    assert (code, found["kind"], found["accused"]) == (0, "two_histories", "shop")
    code, shown = verified(TwoHistories(signed(1, entries[0]), large, entries[0], (entries[1],)))
    assert (code, shown["error"]["code"]) == (1, "no_proof")
    code, shown = verified(TwoHistories(signed(1, leaf_hash(b"three")), large))
    assert (code, shown["error"]["code"]) == (1, "no_proof")
