"""The sections of the configuration: every key with its type, bounds, default and meaning.

The descriptions are the comments in the file that `riskshare init` writes.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from riskshare.errors import InputError
from riskshare.names import check_list_name, check_member_name

Mode = Literal["replicate", "on_demand"]
Scope = Literal["check", "publish", "audit", "admin"]
KeySourceName = Literal["file", "env", "command"]
OneSource = Literal["", "file", "env", "command"]

DIRECTORY = "directory"
"""Key of the validation context: the folder that relative paths count from."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_DATABASE = re.compile(r"[a-z_][a-z0-9_]{0,62}")


def _absolute(path: Path | None, info: ValidationInfo) -> Path | None:
    directory = (info.context or {}).get(DIRECTORY)
    return path if path is None or directory is None else Path(directory, path.expanduser())


def _named(check: Callable[[object], str]) -> Callable[[str], str]:
    def run(value: str) -> str:
        try:
            return check(value)
        except InputError as error:
            raise ValueError(error.message) from error

    return run


def _sha256_hex(value: str) -> str:
    if _SHA256.fullmatch(value) is None:
        raise ValueError("64 lower-case hex digits are expected.")
    return value


def _empty_is_none(value: object) -> object:
    return None if value == "" else value


def is_loopback(host: str) -> bool:
    """Tell whether `host` is localhost or a loopback address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


FilePath = Annotated[Path, AfterValidator(_absolute)]
OptionalPath = Annotated[Path | None, BeforeValidator(_empty_is_none), AfterValidator(_absolute)]
MemberName = Annotated[str, AfterValidator(_named(check_member_name))]
ListName = Annotated[str, AfterValidator(_named(check_list_name))]
Port = Annotated[int, Field(ge=0, le=65535)]


class Section(BaseModel):
    """What all parts of the configuration have in common: frozen, no unknown keys, no values in errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)


class MemberSection(Section):
    """Who this peer is, and of which network."""

    name: MemberName = Field(description="This member's name in the registry.")
    network_file: FilePath = Field(
        Path("network.json"),
        description="The network's registry, as the governors give it out. If their folder registry/ with"
        " every version lies beside it, the file may be newer than the digest below.",
    )
    network_sha256: str = Field(
        "",
        description="SHA-256 of the registry version that this peer believes first. Compare it with the governors by"
        " another way than the file came: everything else is trusted because of it. A peer does not start without.",
    )

    @field_validator("network_sha256")
    @classmethod
    def _check_digest(cls, value: str) -> str:
        return value and _sha256_hex(value)


class PathsSection(Section):
    """Where files lie."""

    data_dir: FilePath = Field(Path("data"), description="Segments, own and subscribed, and what else grows.")
    keys_dir: FilePath = Field(
        Path("keys"), description="The member's keys. Back them up; whoever has them is this member."
    )


class KeysSection(Section):
    """Where this member's keys are. The TLS key and its certificate are files in any case."""

    source: KeySourceName = Field(
        "file",
        description="file: <kind>.key in paths.keys_dir. env: variables RISKSHARE_KEY_IDENTITY, _LEDGER, _WITNESS,"
        " _SEALING, _DATA. command: what the command below writes. Each holds the line of such a file.",
    )
    command: tuple[str, ...] = Field(
        (),
        description="Program and arguments, run without a shell: such as a client of a key management service."
        " {kind} stands for identity, ledger, witness, sealing or data; else the kind is the last argument.",
    )
    identity: OneSource = Field("", description='Another source for this key, "" for that of all.')
    ledger: OneSource = Field("", description='Another source for this key, "" for that of all.')
    witness: OneSource = Field("", description='Another source for this key, "" for that of all.')
    sealing: OneSource = Field("", description='Another source for this key, "" for that of all.')
    data: OneSource = Field("", description='Another source for this key, "" for that of all.')

    @property
    def exceptions(self) -> dict[str, KeySourceName]:
        """The kinds that have a source of their own."""
        named = {kind: getattr(self, kind) for kind in ("identity", "ledger", "witness", "sealing", "data")}
        return {kind: source for kind, source in named.items() if source}

    @model_validator(mode="after")
    def _check_command(self) -> KeysSection:
        if bool(self.command) != ("command" in {self.source, *self.exceptions.values()}):
            raise ValueError("command and a source that is command belong together: give both or none.")
        return self


class PeersListener(Section):
    """For other members: mutual TLS with the keys of the registry."""

    host: str = Field("0.0.0.0", description="Address to listen on for other members.")  # noqa: S104 - what it is for
    port: Port = Field(
        8443, description="Port for other members; that of the URL in the registry, if nothing stands before it."
    )
    log_readers: Literal["anyone", "members"] = Field(
        "anyone",
        description="Who may read this member's log: anyone, or only who connects with a member's certificate. It tells"
        " outsiders how many entries there are and when, and nothing else.",
    )


class ClientsListener(Section):
    """For the member's own payment systems."""

    host: str = Field(
        "127.0.0.1", description="Address to listen on for clients. Without TLS only a loopback address is allowed."
    )
    port: Port = Field(9443, description="Port for clients.")
    tls_certificate: OptionalPath = Field(None, description='Certificate chain in PEM for clients, "" for no TLS.')
    tls_key: OptionalPath = Field(None, description='Its private key in PEM, "" for no TLS.')

    @model_validator(mode="after")
    def _check_tls(self) -> ClientsListener:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key belong together: give both or none.")
        if self.tls_certificate is None and not is_loopback(self.host):
            raise ValueError(
                "clients without TLS may be served on a loopback address only: set tls_certificate and tls_key,"
                ' or host = "127.0.0.1".'
            )
        return self

    @property
    def tls(self) -> bool:
        """Whether clients speak TLS."""
        return self.tls_certificate is not None


class OperationsListener(Section):
    """Health and metrics; plain HTTP."""

    host: str = Field("127.0.0.1", description="Address for health checks and metrics, plain HTTP: keep it internal.")
    port: Port = Field(10443, description="Port for health checks and metrics.")


class ListenSection(Section):
    """The three listeners. Port 0 lets the system choose."""

    peers: PeersListener = Field(default_factory=PeersListener)
    clients: ClientsListener = Field(default_factory=ClientsListener)
    operations: OperationsListener = Field(default_factory=OperationsListener)

    @model_validator(mode="after")
    def _check_ports(self) -> ListenSection:
        ports = [port for port in (self.peers.port, self.clients.port, self.operations.port) if port]
        if len(set(ports)) < len(ports):
            raise ValueError("peers, clients and operations need three different ports.")
        return self


class StoreSection(Section):
    """PostgreSQL."""

    dsn: SecretStr = Field(
        SecretStr(""),
        description='postgresql://user:password@host/database, "" to run an own server. On a replicated PostgreSQL'
        " configure a synchronous replica: a receipt must not be lost with one machine.",
    )
    server_dir: OptionalPath = Field(
        None,
        description='Folder of the own server, "" for postgres in data_dir. Members of one machine may share one.',
    )
    database: str = Field("", description='Database on the own server, "" for one named after the member.')
    connections: int = Field(10, ge=2, le=1000, description="Most connections of each worker process.")

    @field_validator("database")
    @classmethod
    def _check_database(cls, value: str) -> str:
        if value and _DATABASE.fullmatch(value) is None:
            raise ValueError("1 to 63 of a-z, 0-9 and _ are expected, the first no digit.")
        return value


class CheckSection(Section):
    """Checks of this member's own clients."""

    deadline_ms: int = Field(
        150,
        ge=1,
        le=5_000,
        description="Owners that have not answered by then are late; a request may ask for less or more. The verdict"
        " follows once its record is durable.",
    )
    max_identifiers: int = Field(32, ge=1, le=1024, description="Most identifiers in one check.")
    coalescing: bool = Field(default=True, description="Elements of concurrent checks to one owner travel together.")
    asks_in_flight: int = Field(
        4, ge=1, le=64, description="Most asks to one owner at once; further elements wait for the next."
    )
    busy_poll_us: int = Field(
        3_000,
        ge=0,
        le=20_000,
        description="Most microseconds that a worker polls without sleeping while a single check waits for a single"
        " owner: it answers sooner, and a core is busy meanwhile. 0 for never; so it is on one core, too.",
    )
    token_cache_entries: int = Field(
        100_000,
        ge=0,
        le=100_000_000,
        description="Most tokens kept in memory, to answer again without asking; 0 for none.",
    )
    token_cache_seconds: int = Field(3_600, ge=0, le=30 * 86_400, description="How long a token is kept.")


class SubscribeSection(Section):
    """Lists of other members."""

    mode: Mode = Field(
        "replicate",
        description="replicate keeps whole lists here: a hit needs no request and tells the owner nothing. on_demand"
        " keeps only filter and index: saves disk, and the owner sees that a hit probably happened.",
    )
    replicate: tuple[ListName, ...] = Field((), description='Lists ("member/list") to replicate whatever the mode is.')
    on_demand: tuple[ListName, ...] = Field(
        (), description='Lists ("member/list") to read on demand whatever the mode is.'
    )
    stale_after_s: int = Field(
        60, ge=1, le=3_600, description="A list that was not confirmed for so long gives hits, but no clear."
    )
    poll_hold_s: int = Field(20, ge=1, le=20, description="How long a poll for a newer version may be held.")

    owner_gib: int = Field(
        20,
        ge=1,
        le=16_384,
        description="Most GiB of files of one owner's lists, both epochs of a change-over included. While a new version"
        " takes the place of an old one, both are on disk for a moment.",
    )
    owner_lists: int = Field(256, ge=1, le=512, description="Most lists of one owner.")
    delta_entries: int = Field(
        2**24,
        ge=1_000,
        le=2**30,
        description="Most entries that the deltas of one list may hold; they are kept in memory, 32 bytes each, and"
        " take some 200 while they are read.",
    )

    @model_validator(mode="after")
    def _check(self) -> SubscribeSection:
        if self.stale_after_s <= self.poll_hold_s:
            raise ValueError("stale_after_s must exceed poll_hold_s, or lists are stale between two polls.")
        if set(self.replicate) & set(self.on_demand):
            raise ValueError("a list stands in replicate and in on_demand.")
        return self

    def mode_of(self, list_name: str) -> Mode:
        """How the list `<member>/<list>` is kept here."""
        if list_name in self.on_demand:
            return "on_demand"
        return "replicate" if list_name in self.replicate else self.mode


class PublishSection(Section):
    """This member's own lists."""

    filter_rate_log2: int = Field(
        -20,
        ge=-32,
        le=-16,
        description="Rate of false maybes of the filters, as a power of two; a coarser one would show an owner what"
        " on-demand subscribers ask.",
    )
    snapshot_term_h: int = Field(24, ge=1, le=24 * 30, description="Hours until a snapshot expires.")
    reissue_m: int = Field(
        60, ge=1, le=24 * 60, description="Minutes after which an unchanged snapshot is issued anew."
    )
    compact_deltas: int = Field(32, ge=1, le=1_000, description="Deltas on a list beyond which some or all are merged.")
    compact_percent: int = Field(
        10, ge=1, le=100, description="Bytes of all deltas, in percent of the base's, that make a new base due."
    )
    replace_limit_percent: int = Field(
        20, ge=0, le=100, description="Percent of a list's entries that a file which replaces it withdraws unforced."
    )
    import_mib: int = Field(512, ge=1, le=65_536, description="Longest file that a program may send to be imported.")

    engine: Literal["local", "dask"] = Field(
        "local",
        description="Where whole lists are computed under a new key: local, on the cores of this machine; dask, on a"
        " cluster, whose operators can then read the epoch's key and the identifiers.",
    )
    scheduler: str = Field("", description='The scheduler of the cluster, "tls://HOST:PORT".')
    scheduler_ca: OptionalPath = Field(None, description="The certificate authority of the cluster, for it alone.")
    scheduler_cert: OptionalPath = Field(None, description="This member's certificate by that authority.")
    scheduler_key: OptionalPath = Field(None, description="Its key.")

    @model_validator(mode="after")
    def _check_engine(self) -> PublishSection:
        if self.scheduler and not self.scheduler.startswith("tls://"):
            raise ValueError("scheduler must begin with tls://: the epoch key goes there.")
        if self.engine == "dask" and not all(
            (self.scheduler, self.scheduler_ca, self.scheduler_cert, self.scheduler_key)
        ):
            raise ValueError("the engine dask needs scheduler, scheduler_ca, scheduler_cert and scheduler_key.")
        return self

    @model_validator(mode="after")
    def _check(self) -> PublishSection:
        if 2 * self.reissue_m > 60 * self.snapshot_term_h:
            raise ValueError(
                "reissue_m must be at most half of snapshot_term_h, or lists expire before they are renewed."
            )
        return self


class EpochSection(Section):
    """The keys under which this member's lists are published."""

    term_days: int = Field(30, ge=1, le=366, description="Days that an epoch's key is used.")
    changeover_hours: int = Field(24, ge=1, le=24 * 7, description="Hours that the old and the new epoch overlap.")

    @model_validator(mode="after")
    def _check(self) -> EpochSection:
        if self.changeover_hours >= 24 * self.term_days:
            raise ValueError("changeover_hours must be less than term_days.")
        return self


class AuditSection(Section):
    """What is kept for auditors."""

    window_days: int = Field(
        180,
        ge=1,
        le=3_660,
        description="Days that own snapshots are kept after they expire, and segments that no kept snapshot names."
        " Receipts and sealed checks stay.",
    )
    settle: Literal["months", "any"] = Field(
        "any",
        description="Periods that are settled with other members: any that lies behind; or months, whole ones (UTC)"
        " only, so that nobody has a part of a month settled and others have to settle around it.",
    )


class LogSection(Section):
    """The log: never an identifier, whatever the level."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="debug, info, warning or error.")
    format: Literal["json", "console"] = Field("json", description="json, or console for people.")


class ApiKeySection(Section):
    """One API key of a client."""

    id: str = Field(
        pattern=r"^[A-Za-z0-9-]{1,40}$", description="The part between the first two underscores of the key."
    )
    sha256: Annotated[str, AfterValidator(_sha256_hex)] = Field(
        repr=False, description="SHA-256 of the whole key in hex; the key itself is kept nowhere."
    )
    scopes: tuple[Scope, ...] = Field(min_length=1, description="Any of check, publish, audit, admin.")
    expires: AwareDatetime = Field(description="The key is refused from then on.")
    addresses: tuple[IPv4Network | IPv6Network, ...] = Field(
        (), description='Networks that it is accepted from, such as "10.0.0.0/8"; none means from anywhere.'
    )

    def expired(self, now: datetime) -> bool:
        """Tell whether the key is refused for its age."""
        return now >= self.expires
