"""A whole network on this machine: governors, members, a real peer process for each.

For the demo, the benchmarks and the tests of real peers. Nothing in it is special to that: members are made, admitted
and started as by hand, each with its own keys, mutual TLS and a database of its own in one shared PostgreSQL.
All listeners are on 127.0.0.1.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from riskshare.config import Config
from riskshare.errors import RiskshareError
from riskshare.governance import admit, create_member, create_network
from riskshare.registry import Quota

HOST: Final = "127.0.0.1"
READY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 30.0
PORTS_OF_A_PROCESS: Final = 200
GENEROUS: Final = Quota(per_second=1_000_000, per_day=10_000_000_000)
"""Quotas that measure the machine, not the quota."""


_PORTS: Final = range(20_000, 32_000)
_given: set[int] = set()


@dataclass(frozen=True, slots=True)
class Spec:
    """A member to be made."""

    name: str
    title: str
    kind: str
    roles: tuple[str, ...] = ("owner", "querier")
    settings: Mapping[str, Any] = field(default_factory=dict)
    quota: Quota | None = None
    """What it may ask of each owner, if not what the network's other members may."""


@dataclass(frozen=True, slots=True)
class LoopbackMember:
    """A member that was made: where its files and listeners are."""

    name: str
    title: str
    directory: Path
    config_file: Path
    api_key_file: Path
    urls: Mapping[str, str]

    @property
    def api_key(self) -> str:
        """The secret of its API key."""
        return self.api_key_file.read_text().strip()

    @property
    def config(self) -> Config:
        """Its configuration."""
        return Config.load(self.config_file)


class LoopbackNetwork:
    """A network in `directory`, which is made by `create` or was made before.

    As a context manager it stops what it started at the end.
    """

    def __init__(self, directory: Path, members: Sequence[LoopbackMember]) -> None:
        self.directory = directory
        self.members = {member.name: member for member in members}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @classmethod
    def create(cls, directory: Path, specs: Sequence[Spec], *, quota: Quota | None = None) -> LoopbackNetwork:
        """Make the network and its members; nothing runs yet.

        Raises:
            ConfigError: there is a network in the folder already.
            DiskError: a file cannot be written.

        """
        now = datetime.now(UTC)
        directory = directory.resolve()
        create_network(directory, "loopback", now=now)
        ports = _free_ports(3 * len(specs))
        members = []
        for number, spec in enumerate(specs):
            peers, clients, operations = ports[3 * number : 3 * number + 3]
            settings: dict[str, Any] = {
                "listen": {
                    "peers": {"host": HOST, "port": peers},
                    "clients": {"host": HOST, "port": clients},
                    "operations": {"host": HOST, "port": operations},
                },
                "store": {"server_dir": directory / "postgres", "connections": 4},
            }
            for section, values in spec.settings.items():
                settings.setdefault(section, {}).update(values)
            made = create_member(
                directory / spec.name,
                spec.name,
                f"https://{HOST}:{peers}",
                now=now,
                network_file=directory / "network.json",
                title=spec.title,
                kind=spec.kind,
                roles=spec.roles,
                settings=settings,
            )
            urls = {
                "peers": f"https://{HOST}:{peers}",
                "clients": f"http://{HOST}:{clients}",
                "operations": f"http://{HOST}:{operations}",
            }
            members.append(
                LoopbackMember(spec.name, spec.title, directory / spec.name, made.config_file, made.api_key_file, urls)
            )
        for allowed in dict.fromkeys(spec.quota or quota for spec in specs):
            names = [spec.name for spec in specs if (spec.quota or quota) == allowed]
            requests = [directory / name / "join.json" for name in names]
            admit(directory, requests, now=datetime.now(UTC), quota=allowed)
        return cls(directory, members)

    # -- running ---------------------------------------------------------------------

    def start(self, *names: str, workers: int = 1, program: Sequence[str] = ("-m", "riskshare")) -> None:
        """Start peers (all, if none is named), and wait until each is healthy.

        `program` is what Python runs in place of riskshare itself; it is given the same arguments.

        Raises:
            RiskshareError: code `not_started`; the end of its log is part of the sentence.

        """
        for name in names or tuple(self.members):
            member = self.members[name]
            command = [sys.executable, *program, "serve", "--config", str(member.config_file)]
            if workers > 1:
                command += ["--workers", str(workers)]
            with self.log_file(name).open("ab") as log:
                self._running[name] = subprocess.Popen(  # noqa: S603 - ourselves, with arguments made here
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        for name in names or tuple(self.members):
            self.wait(name, "healthz")

    def wait(self, name: str, path: str, *, seconds: float = READY_SECONDS) -> None:
        """Wait until a peer's /healthz or /readyz says 200. Raises RiskshareError `not_started`."""
        deadline = time.monotonic() + seconds
        answer = ""
        while time.monotonic() < deadline:
            process = self._running.get(name)
            if process is not None and process.poll() is not None:
                raise RiskshareError(
                    f"The peer of {name} ended with code {process.returncode}:\n{self.log_end(name)}",
                    code="not_started",
                )
            status, answer = self.probe(name, path)
            if status == 200:
                return
            time.sleep(0.05)
        raise RiskshareError(
            f"The peer of {name} is not ready after {seconds:g} seconds: {answer}\n{self.log_end(name)}",
            code="not_started",
        )

    def wait_for_lists(self, name: str, lists: Collection[str], *, seconds: float = READY_SECONDS) -> None:
        """Wait until a peer holds these lists (full names). Raises RiskshareError `not_started`.

        A peer that is ready holds all lists that their owners have told it of; one that an owner is still building
        for the first time is not among them.
        """
        member = self.members[name]
        deadline = time.monotonic() + seconds
        held: set[str] = set()
        while not held.issuperset(lists):
            if time.monotonic() > deadline:
                missing = ", ".join(sorted(set(lists) - held))
                raise RiskshareError(
                    f"The peer of {name} has no {missing} after {seconds:g} seconds.\n{self.log_end(name)}",
                    code="not_started",
                )
            time.sleep(0.05)
            status, found = get_json(f"{member.urls['clients']}/v1/lists", member.api_key)
            if status == 200:
                held = {each["list"] for each in found["lists"] if each["status"] == "current" and each["version"]}

    def probe(self, name: str, path: str) -> tuple[int, str]:
        """Status and body of one request to a peer's operations listener; status 0 if nobody answers."""
        url = f"{self.members[name].urls['operations']}/{path}"
        try:
            with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - our own, on loopback
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def process(self, name: str) -> subprocess.Popen[bytes]:
        """The process of a peer that was started."""
        return self._running[name]

    def kill(self, name: str) -> None:
        """End a peer with SIGKILL, as a power failure would."""
        process = self._running.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self, *names: str) -> None:
        """Stop peers (all that run, if none is named) and wait until they have stopped."""
        stopping = {name: self._running.pop(name) for name in names or tuple(self._running)}
        for process in stopping.values():
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in stopping.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def log_file(self, name: str) -> Path:
        """Where a peer's log goes."""
        return self.members[name].directory / "peer.log"

    def log_end(self, name: str, lines: int = 12) -> str:
        """The last lines of a peer's log."""
        with suppress(OSError):
            return "\n".join(self.log_file(name).read_text(errors="replace").splitlines()[-lines:])
        return ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def post_json(url: str, body: object, api_key: str, *, timeout: float = 30.0) -> tuple[int, Any]:
    """POST to a client API and return status and parsed answer."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {api_key}"}
    return _answered(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout)  # noqa: S310 - loopback


def get_json(url: str, api_key: str, *, timeout: float = 30.0) -> tuple[int, Any]:
    """GET from a client API and return status and parsed answer."""
    return _answered(urllib.request.Request(url, headers={"Authorization": f"Bearer {api_key}"}), timeout)  # noqa: S310


def _answered(request: urllib.request.Request, timeout: float) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, and that this process has not given out before.

    They lie below the range from which systems take ports for outgoing connections (from 32768 on Linux), so that
    none of them is taken in this way before its peer starts. A member that is stopped leaves its ports for a while, and
    another network of this machine must not take them: each process begins with a part of the range of its own.
    """
    found: list[int] = []
    part = _PORTS[os.getpid() * PORTS_OF_A_PROCESS % len(_PORTS) :][:PORTS_OF_A_PROCESS]
    candidates = [*random.SystemRandom().sample(part, len(part)), *random.SystemRandom().sample(_PORTS, 2_000)]
    for port in candidates:
        if len(found) == count:
            break
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            if port not in _given:
                _given.add(port)
                found.append(port)
    if len(found) < count:
        raise RiskshareError("There are no ports left that nobody listens on.", code="not_started")
    return found
