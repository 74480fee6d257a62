"""Key files: one secret each, readable by their owner alone.

    identity.key  ledger.key  witness.key    Ed25519 seeds: statements, checkpoints, cosignatures
    tls.key  tls.crt                         P-256 key (PEM, PKCS #8) and its self-signed certificate
    sealing.key                              seed of the HPKE key that sealed records are closed to
    data.key                                 32 bytes: AES-256-GCM over the member's own entries
    governor.key                             Ed25519 seed, in the folder of a network's governor

A key file of ours is one line, `riskshare/v1/<kind>-key <64 hex digits>`: the kind is part of it, so that a
file copied over another is noticed. Files are made with mode 0600 in a folder of mode 0700, never
overwritten, and refused if anybody but their owner may read them. All but those of TLS may have another source
(`key_source`): the environment, or a command.

The sealing key is the 32-byte decapsulation key of X-Wing (draft-connolly-cfrg-xwing-kem, 5.2), which is
also that of MLKEM768-X25519 (HPKE KEM 0x647A): SHAKE256(seed, 96 bytes) gives the ML-KEM-768 seed d ‖ z and the
X25519 private key. `cryptography` has the KEM but no serialization of its private key, and only the seed is portable.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol, final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from riskshare.certificate import Certificate, new_certificate, pem_to_der, read_certificate
from riskshare.encoding import parse_hex, sha256
from riskshare.errors import ConfigError, DiskError, EncodingError
from riskshare.signature import SigningKey

SECRET_BYTES: Final = 32
MAX_FILE: Final = 64 * 1024
SIGNING_KINDS: Final = ("identity", "ledger", "witness")
TLS_KEY: Final = "tls.key"
TLS_CERTIFICATE: Final = "tls.crt"


@dataclass(frozen=True, slots=True, repr=False)
class MemberKeys:
    """All secrets of one member; nothing of them is in its `repr`, and it cannot be pickled.

    `sealing` opens what HPKE sealed to the member; `data` are the 32 bytes of the member's data
    key; `tls_key_file` and `tls_certificate_file` are where `ssl` loads its chain from.
    """

    identity: SigningKey
    ledger: SigningKey
    witness: SigningKey
    sealing: MLKEM768X25519PrivateKey
    data: bytes
    tls: Certificate
    tls_key_file: Path
    tls_certificate_file: Path

    def __repr__(self) -> str:
        return f"MemberKeys(identity={self.identity.public.hex()})"

    def __reduce__(self) -> str:
        raise TypeError("keys are not pickled")


def sealing_key(seed: bytes) -> MLKEM768X25519PrivateKey:
    """Expand the 32-byte seed of a sealing key (draft-connolly-cfrg-xwing-kem 5.2, `expandDecapsulationKey`).

    Raises:
        ValueError: another length.

    """
    if len(seed) != SECRET_BYTES:
        raise ValueError("the seed of a sealing key is 32 bytes")
    expanded = hashlib.shake_256(seed).digest(96)
    return MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), X25519PrivateKey.from_private_bytes(expanded[64:])
    )


def create_member_keys(directory: Path, member: str, host: str, *, now: datetime) -> MemberKeys:
    """Make all keys of a member in `directory`, which must not hold any yet; `host` is that of its URL.

    Raises:
        ConfigError: a key file is there already.
        DiskError: a file cannot be written.

    """
    make_private_directory(directory)
    for kind in (*SIGNING_KINDS, "sealing", "data"):
        write_key(directory / f"{kind}.key", kind, secrets.token_bytes(SECRET_BYTES))
    key, certificate = new_certificate(member, host, now=now)
    write_new(directory / TLS_KEY, key, mode=0o600)
    write_new(directory / TLS_CERTIFICATE, certificate, mode=0o600)
    return read_member_keys(directory)


class KeySource(Protocol):
    """A place that has keys (`key_source`)."""

    def read(self, kind: str) -> bytes:
        """The 32 secret bytes of the key of a kind. Raises ConfigError."""


@final
class KeyFiles:
    """Keys as files in a folder."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, kind: str) -> bytes:
        """Read `<kind>.key`. Raises ConfigError."""
        return read_key(self._directory / f"{kind}.key", kind)


def read_member_keys(directory: Path, source: KeySource | None = None) -> MemberKeys:
    """Read all keys of a member: from `source`, else from the folder, and those of TLS from the folder in any case.

    Raises:
        ConfigError: a key is missing, readable by others, malformed, or the TLS key is not the certificate's.

    """
    source = source or KeyFiles(directory)
    tls = read_tls_certificate(directory / TLS_CERTIFICATE)
    if _spki_of_key(directory / TLS_KEY) != tls.spki:
        raise ConfigError(
            f"{directory / TLS_KEY} is not the key of {TLS_CERTIFICATE} beside it. Restore both together."
        )
    return MemberKeys(
        identity=SigningKey(source.read("identity")),
        ledger=SigningKey(source.read("ledger")),
        witness=SigningKey(source.read("witness")),
        sealing=sealing_key(source.read("sealing")),
        data=source.read("data"),
        tls=tls,
        tls_key_file=directory / TLS_KEY,
        tls_certificate_file=directory / TLS_CERTIFICATE,
    )


def read_signing_key(path: Path, kind: str) -> SigningKey:
    """Read an Ed25519 key file of `kind`: identity, ledger, witness or governor. Raises ConfigError."""
    return SigningKey(read_key(path, kind))


def read_key(path: Path, kind: str) -> bytes:
    """Read the 32 secret bytes of a key file of `kind`. Raises ConfigError."""
    return parse_key(read_secret(path), kind, str(path))


def parse_key(data: bytes, kind: str, where: str) -> bytes:
    """Read the line of a key; `where` names the place, for the sentence. Nothing of the data is in it.

    Raises:
        ConfigError: code `key_malformed`.

    """
    start = f"riskshare/v1/{kind}-key "
    text = data.decode("ascii", "replace")
    if not text.startswith(start) or not text.endswith("\n"):
        raise ConfigError(
            f"{where} is not a {kind} key. Put the right one there from your backup.", code="key_malformed"
        )
    try:
        return parse_hex(text[len(start) : -1], SECRET_BYTES)
    except EncodingError as error:
        raise ConfigError(
            f"{where} is damaged: a {kind} key is 64 hex digits. Restore it from your backup.", code="key_malformed"
        ) from error


def write_key(path: Path, kind: str, secret: bytes) -> None:
    """Write a key file that `read_key` reads. Raises ConfigError if it exists, DiskError."""
    write_new(path, f"riskshare/v1/{kind}-key {secret.hex()}\n".encode("ascii"), mode=0o600)


def read_tls_certificate(path: Path) -> Certificate:
    """Read a peer's certificate in PEM. Raises ConfigError."""
    try:
        return read_certificate(pem_to_der(_read_bounded(path)))
    except EncodingError as error:
        raise ConfigError(f"{path} is no peer's certificate. {error.message}") from error


def _spki_of_key(path: Path) -> bytes:
    try:
        key = load_pem_private_key(read_secret(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} is not an unencrypted private key in PEM. Restore it from your backup.") from error
    return sha256(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def read_secret(path: Path) -> bytes:
    """Read a file that only its owner may read, of at most 64 KiB.

    Raises:
        ConfigError: missing, too long, not a file, or open to others.

    """
    return _read_bounded(path, private=True)


def _read_bounded(path: Path, *, private: bool = False) -> bytes:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"{path} is not a file.")
            # On the open file, not on the path: nothing can be put in its place between the two.
            if private and os.name == "posix" and status.st_mode & 0o077:
                raise ConfigError(f"Others may read {path}. Close it: chmod 600 {path}")
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or 'it is not there'}.") from error
    if len(data) > MAX_FILE:
        raise ConfigError(f"{path} is too long for a key file.")
    return data


def make_private_directory(path: Path) -> None:
    """Make a folder (and those above it) that only its owner may enter; one that exists is left as it is.

    Raises:
        DiskError: it cannot be made.

    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)


def write_new(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file that must not exist yet, whole and durable, or not at all.

    Raises:
        ConfigError: it exists. Nothing is ever overwritten here.
        DiskError: disk full, or no right to write.

    """
    with disk_errors(path):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError as error:
            raise ConfigError(f"{path} exists already and is not overwritten. Use another folder.") from error
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), mode)  # whatever the umask says
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            path.unlink(missing_ok=True)
            raise


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says while `path` is written into DiskError."""
    try:
        yield
    except OSError as error:
        raise DiskError(f"{path} cannot be written: {error.strerror}.") from error


@dataclass(frozen=True, slots=True, repr=False)
class ApiKey:
    """A new API key: `secret` goes to the client, `id` and `sha256` (hex) into the configuration."""

    id: str
    secret: str
    sha256: str

    def __repr__(self) -> str:
        return f"ApiKey(id={self.id})"


def new_api_key(key_id: str | None = None) -> ApiKey:
    """Make an API key `rs_<id>_<43 characters of base64url>`: 32 random bytes behind a readable name."""
    name = key_id or secrets.token_hex(4)
    text = base64.urlsafe_b64encode(secrets.token_bytes(SECRET_BYTES)).rstrip(b"=").decode("ascii")
    secret = f"rs_{name}_{text}"
    return ApiKey(name, secret, api_key_sha256(secret))


def api_key_sha256(secret: str) -> str:
    """What the configuration holds of an API key: the SHA-256 of the whole key, in hex.

    A fast hash is enough: the key has 256 random bits, and nobody guesses those.
    """
    return hashlib.sha256(secret.encode()).hexdigest()


def api_key_id(secret: str) -> str | None:
    """The id inside an API key, or None if the text has another form."""
    prefix, _, rest = secret.partition("_")
    # The secret part may itself hold underscores, so its length decides.
    return rest[:-44] if prefix == "rs" and len(rest) > 44 and rest[-44] == "_" else None
