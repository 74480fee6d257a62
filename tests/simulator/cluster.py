"""A real cluster of Dask on loopback, over TLS: a scheduler and workers, each a process that can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import trustme

from riskshare.client.cluster import Cluster
from tests.simulator.running import until

ROOT = Path(__file__).parents[2]


class RunningCluster:
    """Start it with `start`; it ends with `stop`."""

    def __init__(self, folder: Path, *, protocol: str = "tls") -> None:
        self._folder = folder
        self._protocol = protocol
        authority = trustme.CA()
        self.ca = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca)
        for name in ("scheduler", "worker", "member"):
            issued = authority.issue_cert("127.0.0.1")
            issued.private_key_pem.write_to_path(folder / f"{name}.key")
            (folder / f"{name}.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        self._scheduler: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []

    def start(self, workers: int = 2) -> None:
        place = self._folder / "scheduler.json"
        words = ["dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(place)]
        self._scheduler = self._run(*words, "--protocol", self._protocol, role="scheduler")
        self.address = until(self._address, "the scheduler's address")
        for _ in range(workers):
            self.add_worker()

    def _address(self) -> str:
        log = self._folder / "scheduler.log"
        lines = [line for line in log.read_text().splitlines() if "Scheduler at:" in line]
        return lines[0].split("Scheduler at:")[1].strip() if lines else ""

    def add_worker(self) -> None:
        words = ["dask_worker", self.address, "--nthreads", "1", "--no-nanny", "--host", "127.0.0.1"]
        words += ["--local-directory", str(self._folder)]
        self.workers.append(self._run(*words, role="worker", number=len(self.workers)))

    def _run(self, module: str, *words: str, role: str, number: int | str = "") -> subprocess.Popen[bytes]:
        tls = ["--tls-ca-file", self.ca, "--tls-cert", self._folder / f"{role}.pem"]
        tls += ["--tls-key", self._folder / f"{role}.key"]
        command = [sys.executable, "-m", f"distributed.cli.{module}", *words, "--no-dashboard"]
        command += [str(word) for word in tls] if self._protocol == "tls" else []
        with (self._folder / f"{role}{number}.log").open("wb") as log:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def kill_worker(self, number: int) -> None:
        self.workers[number].send_signal(signal.SIGKILL)
        self.workers[number].wait()

    def logs(self) -> str:
        return "".join(path.read_text() for path in sorted(self._folder.glob("*.log")))

    def member(self, scheduler: str = "") -> Cluster:
        return Cluster(scheduler or self.address, self.ca, self._folder / "member.pem", self._folder / "member.key")

    def settings(self) -> dict[str, object]:
        """The section `publish` of a member that uses it."""
        return {
            "engine": "dask",
            "scheduler": self.address,
            "scheduler_ca": self.ca,
            "scheduler_cert": self._folder / "member.pem",
            "scheduler_key": self._folder / "member.key",
        }

    def stop(self) -> None:
        for process in [*self.workers, *([self._scheduler] if self._scheduler else [])]:
            process.kill()
            process.wait()
