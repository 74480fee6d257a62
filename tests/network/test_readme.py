"""The README's "By hand" is run as it stands there, but for the ports: a shell, two peers, a list, checks."""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from riskshare.loopback import HOST

README = Path(__file__).parents[2] / "README.md"
PATIENCE = 240.0
FIRST, LAST = "## By hand", "### A real list"
PORTS = {8441: "telco", 8451: "bank"}
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
STEP = re.compile(r"^\*\*(\d+)\. ", re.MULTILINE)
ABOVE = (0, 1000, 2000)
"""Clients and operators are served on the port of the URL and so many above."""

pytestmark = pytest.mark.skipif(
    not (shutil.which("bash") and shutil.which("curl")), reason="the README's commands need bash and curl"
)


def by_hand() -> str:
    text = README.read_text(encoding="utf-8")
    return text[text.index(FIRST) : text.index(LAST)]


def steps() -> dict[int, str]:
    """The commands of each step."""
    _, *parts = STEP.split(by_hand())
    return {int(number): "".join(BLOCK.findall(text)) for number, text in zip(parts[::2], parts[1::2], strict=True)}


def bases(count: int) -> list[int]:
    """Ports that are free with those above them, none the same as another."""
    found: list[int] = []
    for port in random.SystemRandom().sample(range(20_000, 32_000 - max(ABOVE)), 200):
        wanted = {port + more for more in ABOVE}
        if not wanted & {base + more for base in found for more in ABOVE} and all(map(is_free, wanted)):
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no free ports")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def with_free_ports(text: str) -> str:
    """The text with the ports of both members replaced, wherever they stand."""
    others = {}
    for base, other in zip(PORTS, bases(len(PORTS)), strict=True):
        others.update({str(base + more): str(other + more) for more in ABOVE})
    return re.sub(r"\b(?:" + "|".join(others) + r")\b", lambda match: others[match[0]], text)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    # One that has ended and is not waited for yet has ended.
    with suppress(OSError):
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    return True


class Shell:
    """A folder in which the script runs; every riskshare that it starts notes its process id there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "w"
        self.pids_file = folder / "pids"
        commands = folder / "bin"
        self.work.mkdir()
        commands.mkdir()
        wrapper = commands / "riskshare"
        wrapper.write_text(
            "#!/bin/sh\n"
            f"echo $$ >> {shlex.quote(str(self.pids_file))}\n"
            f'exec {shlex.quote(sys.executable)} -m riskshare "$@"\n'
        )
        wrapper.chmod(0o755)
        # A peer on a machine that is busy with other tests may take its time: speed is not what is shown here.
        own = {name: value for name, value in os.environ.items() if not name.startswith("RISKSHARE_")}
        root = str(README.parent)
        self.environment = {
            **own,
            "PATH": f"{commands}{os.pathsep}{own['PATH']}",
            "PYTHONPATH": os.pathsep.join(filter(None, [root, own.get("PYTHONPATH")])),
            "RISKSHARE_CHECK__DEADLINE_MS": "3000",
            "no_proxy": HOST,
        }

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", script],
            cwd=self.work,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    def pids(self) -> list[int]:
        return [int(line) for line in self.pids_file.read_text().split()] if self.pids_file.exists() else []

    def postmasters(self) -> list[Path]:
        """The files by which a PostgreSQL says that it runs."""
        return list(self.work.rglob("postmaster.pid"))

    def stop(self) -> None:
        """End what the script left running."""
        left = [pid for pid in self.pids() if is_running(pid)]
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + 30
        while any(map(is_running, left)) and time.monotonic() < end:
            time.sleep(0.1)
        for pid in filter(is_running, left):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def shell(short_folder):
    made = Shell(short_folder)
    try:
        yield made
    finally:
        made.stop()


def test_every_port_of_the_text_is_replaced():
    ports = {str(base + more) for base in PORTS for more in ABOVE}
    assert ports <= set(re.findall(r"\b\d{4,5}\b", by_hand()))
    replaced = with_free_ports(by_hand())
    assert not ports & set(re.findall(r"\b\d{4,5}\b", replaced))
    assert "txn-000017" in replaced


def test_what_the_readme_says_to_do_by_hand_works(shell):
    commands = steps()
    assert list(commands) == list(range(1, 11))
    assert all(commands.values())
    script = "".join(f"echo; echo '=== {number}'\n{text}" for number, text in commands.items())
    done = shell.run(f"set +e\n{with_free_ports(script)}\necho; echo '=== end'\n")
    logs = "\n".join(f"{log.name}: {log.read_text()[-2000:]}" for log in sorted(shell.work.glob("*.log")))
    _, *parts = re.split(r"^=== (\w+)$", done.stdout, flags=re.MULTILINE)
    said = dict(zip(parts[::2], parts[1::2], strict=True))
    told = f"{done.stdout}\n{done.stderr}\n{logs}"

    assert list(said) == [*map(str, commands), "end"], told
    verdicts = r"^ ?(HIT|CLEAR|INCOMPLETE)\b"
    assert re.findall(verdicts, said["5"], re.MULTILINE) == ["HIT", "CLEAR"], told
    answer = json.loads(said["6"])
    assert (answer["verdict"], [hit["list"] for hit in answer["hits"]]) == ("hit", ["telco/telecom-fraud"]), told
    assert re.findall(verdicts, said["7"], re.MULTILINE) == ["CLEAR"], told
    assert "all derived anew" in said["8"], told
    assert said["9"].count("All that was verified holds. There is no finding.") == 2, told
    assert "Traceback" not in told

    assert len(shell.pids()) == script.count("riskshare ")
    assert [pid for pid in shell.pids() if is_running(pid)] == []
    assert shell.postmasters() == []
