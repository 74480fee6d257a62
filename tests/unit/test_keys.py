from __future__ import annotations

import json
import pickle
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, x25519
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PublicKey, Suite
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from riskshare.certificate import new_certificate
from riskshare.errors import ConfigError, DiskError
from riskshare.keys import (
    api_key_id,
    api_key_sha256,
    create_member_keys,
    new_api_key,
    read_key,
    read_member_keys,
    read_secret,
    sealing_key,
    write_key,
    write_new,
)
from riskshare.signature import verify
from tests.simulator.disk import largest_file

NOW = datetime(2026, 11, 22, 8, 30, tzinfo=UTC)
KEY_FILES = ["data.key", "identity.key", "ledger.key", "sealing.key", "tls.key", "witness.key"]


@pytest.fixture
def keys_dir(tmp_path) -> Path:
    create_member_keys(tmp_path / "keys", "icbc", "127.0.0.1", now=NOW)
    return tmp_path / "keys"


def test_all_keys_are_made_and_read_back(tmp_path):
    made = create_member_keys(tmp_path / "keys", "icbc", "peer.icbc.example", now=NOW)
    read = read_member_keys(tmp_path / "keys")
    assert read.identity.public == made.identity.public
    assert len({read.identity.public, read.ledger.public, read.witness.public}) == 3
    assert read.tls.hosts == {"peer.icbc.example"}
    assert len(read.data) == 32
    assert verify(read.identity.public, b"m", read.identity.sign(b"m"))


def test_files_are_private_to_their_owner(keys_dir):
    assert stat.S_IMODE(keys_dir.stat().st_mode) == 0o700
    assert sorted(path.name for path in keys_dir.iterdir()) == sorted([*KEY_FILES, "tls.crt"])
    for path in keys_dir.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", KEY_FILES)
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_key_that_others_may_touch_is_refused_with_the_remedy(keys_dir, name, mode):
    (keys_dir / name).chmod(mode)
    with pytest.raises(ConfigError, match=f"chmod 600 .*{name}"):
        read_member_keys(keys_dir)


@pytest.mark.parametrize("name", [*KEY_FILES, "tls.crt"])
def test_a_missing_key_is_named(keys_dir, name):
    (keys_dir / name).unlink()
    with pytest.raises(ConfigError, match=name):
        read_member_keys(keys_dir)


@pytest.mark.parametrize("name", [*KEY_FILES, "tls.crt"])
@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"riskshare/v1/data-key 00\n", bytes(70_000)])
def test_a_damaged_key_is_refused_and_its_bytes_not_shown(keys_dir, name, content):
    (keys_dir / name).write_bytes(content)
    with pytest.raises(ConfigError, match=name):
        read_member_keys(keys_dir)


def test_a_key_copied_over_another_is_noticed(keys_dir):
    (keys_dir / "ledger.key").write_bytes((keys_dir / "identity.key").read_bytes())
    with pytest.raises(ConfigError, match="not a ledger key"):
        read_member_keys(keys_dir)


def test_a_tls_key_of_another_certificate_is_noticed(keys_dir):
    (keys_dir / "tls.key").write_bytes(new_certificate("icbc", "127.0.0.1", now=NOW)[0])
    with pytest.raises(ConfigError, match=r"not the key of tls\.crt"):
        read_member_keys(keys_dir)


def test_an_encrypted_tls_key_is_refused(keys_dir):
    key = ec.generate_private_key(ec.SECP256R1())
    (keys_dir / "tls.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"p"))
    )
    with pytest.raises(ConfigError, match="unencrypted"):
        read_member_keys(keys_dir)
    (keys_dir / "tls.key").write_bytes(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ConfigError, match="PEM"):
        read_member_keys(keys_dir)


def test_a_folder_is_no_key(tmp_path):
    with pytest.raises(ConfigError):
        read_secret(tmp_path)


def test_nothing_is_ever_overwritten(keys_dir):
    before = {path.name: path.read_bytes() for path in keys_dir.iterdir()}
    with pytest.raises(ConfigError, match="exists already"):
        create_member_keys(keys_dir, "icbc", "127.0.0.1", now=NOW)
    assert {path.name: path.read_bytes() for path in keys_dir.iterdir()} == before


def test_a_link_to_nowhere_is_not_written_through(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(ConfigError, match="exists already"):
        write_new(tmp_path / "link", b"x", mode=0o600)
    assert not (tmp_path / "target").exists()


def test_a_file_that_cannot_be_written_is_a_disk_error(tmp_path):
    with pytest.raises(DiskError, match="cannot be written"):
        write_new(tmp_path / "none" / "file", b"x")
    with pytest.raises(DiskError):
        create_member_keys(Path("/dev/null/keys"), "icbc", "127.0.0.1", now=NOW)


def test_a_file_that_does_not_fit_leaves_no_half(tmp_path):
    with largest_file(1_000), pytest.raises(DiskError):
        write_new(tmp_path / "file", b"x" * 5_000)
    assert list(tmp_path.iterdir()) == []


def test_no_secret_shows(keys_dir):
    keys = read_member_keys(keys_dir)
    text = repr(keys)
    for name in ("identity", "ledger", "witness", "data", "sealing"):
        assert read_key(keys_dir / f"{name}.key", name).hex() not in text
    assert str(keys.data) not in text
    with pytest.raises(TypeError):
        pickle.dumps(keys)


@given(st.binary(min_size=32, max_size=32))
def test_a_key_file_reads_back(tmp_path_factory, secret):
    path = tmp_path_factory.mktemp("key") / "a.key"
    write_key(path, "data", secret)
    assert read_key(path, "data") == secret


# The sealing key


VECTOR = json.loads((Path(__file__).parents[1] / "vectors" / "xwing_kem.json").read_text())
SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def test_the_sealing_seed_opens_what_is_sealed_to_the_published_public_key():
    """draft-connolly-cfrg-xwing-kem-08, appendix C: a seed and its public key, ML-KEM-768 ‖ X25519."""
    public = bytes.fromhex(VECTOR["public"])
    recipient = MLKEM768X25519PublicKey(
        mlkem.MLKEM768PublicKey.from_public_bytes(public[:1184]),
        x25519.X25519PublicKey.from_public_bytes(public[1184:]),
    )
    sealed = SUITE.encrypt(b"hour key", recipient, b"info")
    assert SUITE.decrypt(sealed, sealing_key(bytes.fromhex(VECTOR["seed"])), b"info") == b"hour key"


def test_another_seed_does_not_open():
    sealed = SUITE.encrypt(b"hour key", sealing_key(bytes(32)).public_key(), b"info")
    with pytest.raises(InvalidTag):
        SUITE.decrypt(sealed, sealing_key(b"\x01" * 32), b"info")


def test_a_seed_of_another_length_is_refused():
    for length in (0, 31, 33, 96):
        with pytest.raises(ValueError, match="32 bytes"):
            sealing_key(bytes(length))


# API keys


def test_an_api_key_has_its_id_inside():
    key = new_api_key("till-7")
    assert key.secret.startswith("rs_till-7_")
    assert len(key.secret) == len("rs_till-7_") + 43
    assert api_key_id(key.secret) == "till-7"
    assert key.sha256 == api_key_sha256(key.secret)
    assert key.secret not in repr(key)
    assert new_api_key().secret != new_api_key().secret


def test_the_id_is_found_whatever_the_secret_holds():
    assert api_key_id("rs_a_" + "_" * 43) == "a"
    assert api_key_id("rs_a-b_" + "x" * 43) == "a-b"


@pytest.mark.parametrize("text", ["", "rs", "rs_", "rs_a", "rs_a_short", "xx_a_" + "x" * 43, "rs__" + "x" * 42])
def test_another_text_is_no_api_key(text):
    assert api_key_id(text) is None
