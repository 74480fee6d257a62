"""Running a peer as a service: what it says when it cannot start, several processes of one member, stopping."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from riskshare.cli.application import app
from riskshare.generate import generate
from riskshare.governance import create_member
from riskshare.loopback import LoopbackMember, Spec
from riskshare.peer.opening import now
from riskshare.query.message import AnswerMessage
from tests.network.conftest import MakeNetwork
from tests.simulator.running import BANK, PATIENCE, SHOP, TELECOM, Running, until

LISTED = generate(301, 30, ("phone", "email"))
MORE = generate(302, 5, ("phone",), exclude=LISTED)


# -- what it says when it cannot start ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stopped(make_network: MakeNetwork) -> Running:
    """A network none of whose peers runs."""
    return make_network(BANK, SHOP)


def refused(config_file: Path, *options: str) -> tuple[int, str]:
    """Try to serve, in this process; exit code and what was said."""
    done = CliRunner().invoke(app, ["serve", "--config", str(config_file), *options])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.exit_code, " ".join(done.stderr.split())


def changed(network: Running, folder: Path, old: str, new: str) -> Path:
    """The shop's configuration with one thing changed, at a place from where all its paths hold."""
    text = network.members["shop"].config_file.read_text()
    assert text.count(old) == 1
    file = network.members["shop"].directory / f"{folder.name}.toml"
    file.write_text(text.replace(old, new))
    return file


@pytest.mark.parametrize("listener", ["peers", "clients", "operations"])
def test_a_port_that_is_taken_is_named(stopped: Running, listener: str) -> None:
    port = getattr(stopped.members["shop"].config.listen, listener).port
    with socket.create_server(("127.0.0.1", port)):
        code, said = refused(stopped.members["shop"].config_file)
    assert code == 2
    assert f"listen.{listener}: port {port} is taken" in said


def test_workers_whose_port_is_taken_are_not_started(stopped: Running) -> None:
    config = stopped.members["shop"].config_file
    port = stopped.members["shop"].config.listen.peers.port
    with socket.create_server(("127.0.0.1", port)):
        done = subprocess.run(
            [sys.executable, "-m", "riskshare", "serve", "--config", str(config), "--workers", "2"],
            capture_output=True,
            text=True,
            check=False,
            timeout=2 * PATIENCE,
        )
    assert done.returncode == 2
    assert f"listen.peers: port {port} is taken" in done.stderr
    assert "Traceback" not in done.stderr
    assert "worker_failed" not in done.stderr, "it is seen before workers start, which takes seconds"


SLOW_START = """
import riskshare.peer.serve
from riskshare.cli import main

riskshare.peer.serve.STEADY_SECONDS = 0.0
if __name__ == "__main__":
    main()
"""


def test_workers_that_fail_at_their_start_are_not_started_again_however_long_it_took(
    stopped: Running, tmp_path: Path
) -> None:
    """On a busy machine they failed after the time in which they should have started, and were so again and again."""
    program = tmp_path / "program.py"
    program.write_text(SLOW_START)
    pinned = stopped.members["shop"].config.member.network_sha256
    config = changed(stopped, tmp_path, pinned, "0" * 64)
    done = subprocess.run(
        [sys.executable, str(program), "serve", "--config", str(config), "--workers", "2"],
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * PATIENCE,
    )
    assert done.returncode == 2
    assert "registry_pin" in done.stderr
    assert "worker_died" not in done.stderr


def test_workers_do_not_share_a_port_with_a_stranger(stopped: Running) -> None:
    """The kernel would deal connections out to both."""
    port = stopped.members["shop"].config.listen.clients.port
    with socket.create_server(("127.0.0.1", port), reuse_port=True):
        code, said = refused(stopped.members["shop"].config_file, "--workers", "2")
    assert code == 2
    assert f"listen.clients: port {port} is taken" in said


def test_an_unknown_key_of_the_configuration_is_named(stopped: Running, tmp_path: Path) -> None:
    file = changed(stopped, tmp_path, "deadline_ms =", "deadlin_ms =")
    code, said = refused(file)
    assert code == 2
    assert "unknown key check.deadlin_ms" in said
    assert "Did you mean deadline_ms?" in said


def test_a_registry_other_than_the_pinned_one_is_refused(stopped: Running, tmp_path: Path) -> None:
    pinned = stopped.members["shop"].config.member.network_sha256
    code, said = refused(changed(stopped, tmp_path, pinned, "0" * 64))
    assert code == 1
    assert "registry_pin" in said
    assert "not the pinned one" in said


def test_a_member_that_the_registry_does_not_name_is_told_to_join(stopped: Running, tmp_path: Path) -> None:
    made = create_member(
        tmp_path / "mall",
        "mall",
        "https://127.0.0.1:19999",
        now=now(),
        network_file=stopped.directory / "network.json",
        settings={"store": {"server_dir": stopped.server.directory}},
    )
    code, said = refused(made.config_file)
    assert code == 2
    assert "The registry names no member mall" in said
    assert "join.json" in said


def test_a_key_file_that_others_can_read_is_refused(stopped: Running) -> None:
    [key] = (stopped.members["bank"].config.paths.keys_dir).glob("identity*")
    key.chmod(0o644)
    code, said = refused(stopped.members["bank"].config_file)
    key.chmod(0o600)
    assert code == 2
    assert "identity" in said


# -- two processes of one member ------------------------------------------------------------------------------------


def test_a_second_peer_of_one_identity_serves_and_publishes_only_when_the_first_is_gone(
    make_network: MakeNetwork, tmp_path: Path
) -> None:
    network = make_network(BANK, SHOP)
    network.publish("shop", "fraud", LISTED)
    network.start()
    second = _second(network, tmp_path)
    network.members["second"] = second
    network.start("second")
    until(lambda: network.log("shop", "leading"), "the first one leads")
    answer = network.evaluate("bank", "shop", port=second.config.listen.peers.port)
    assert answer.status == 200, answer.body
    assert len(AnswerMessage.from_bytes(answer.body).elements) == 32
    assert len(network.receipts("shop")) == 1

    network.publish("shop", "fraud", MORE[:1])
    until(lambda: _version(network) == 2, "the first one publishes")
    until(lambda: network.check("second", MORE[0])["verdict"] == "hit", "the second one takes up what was published")
    assert not network.log("second", "leading")
    network.kill("shop")
    until(lambda: network.log("second", "leading"), "the second one leads")
    network.publish("shop", "fraud", MORE[1:2])
    until(lambda: _version(network) == 3, "the second one publishes")
    # PostgreSQL has a version a moment before the process that publishes it takes it up.
    until(lambda: network.check("second", MORE[1])["verdict"] == "hit", "the second one takes up what it published")
    network.stop()


def _second(network: Running, folder: Path) -> LoopbackMember:
    """The shop once more, on ports of its own."""
    shop = network.members["shop"]
    text, urls = shop.config_file.read_text(), {}
    for name in ("peers", "clients", "operations"):
        port = getattr(shop.config.listen, name).port
        with socket.create_server(("127.0.0.1", 0)) as free:
            other = free.getsockname()[1]
        text = text.replace(f"port = {port}", f"port = {other}")
        urls[name] = shop.urls[name].replace(str(port), str(other))
    file = shop.directory / "second.toml"
    file.write_text(text)
    return LoopbackMember("second", "Shop", folder, file, shop.api_key_file, urls)


def _version(network: Running) -> int:
    [row] = network.rows("shop", "select max(version) as version from snapshots")
    return int(row["version"] or 0)


# -- workers --------------------------------------------------------------------------------------------------------


def test_workers_share_the_ports_are_started_again_when_killed_and_end_with_their_supervisor(
    make_network: MakeNetwork,
) -> None:
    network = make_network(BANK, SHOP)
    network.publish("shop", "fraud", LISTED)
    network.start("shop", workers=2)
    network.start("bank")
    network.ready("bank")
    supervisor = psutil.Process(network.process("shop").pid)
    ports = {section.port for _, section in network.members["shop"].config.listen}
    first = until(lambda: _serving(supervisor, ports, 2), "two workers that listen on all ports")
    assert network.check("bank", LISTED[0])["verdict"] == "hit"
    _, text = network.probe("shop", "metrics")
    for worker in ("1", "2"):
        assert network.metric("shop", "worker_up", worker=worker) == 1
        assert f'riskshare_registry_version{{worker="{worker}"}}' in text
    assert network.health("shop")["parts"]["workers"] == "ok"
    victim = max(first, key=lambda worker: worker.pid)
    victim.kill()
    until(lambda: _serving(supervisor, ports, 2) - {victim}, "another worker in its place")
    until(lambda: len(_serving(supervisor, ports, 2) - {victim}) == 2, "two workers again")
    until(lambda: network.check("bank", LISTED[1])["complete"], "whole answers again")
    until(lambda: network.probe("shop", "healthz")[0] == 200, "health again")
    assert network.metric("shop", "worker_up", worker="1") == network.metric("shop", "worker_up", worker="2") == 1
    [died] = network.log("shop", "worker_died")
    assert (died["pid"], died["code"]) == (victim.pid, "-9")
    # The supervisor is killed: nobody is left to tell the workers, and they end all the same.
    left = _serving(supervisor, ports, 2)
    os.kill(supervisor.pid, signal.SIGKILL)
    until(lambda: not any(_runs(worker) for worker in left), "the end of the workers")
    network.kill("shop")
    network.stop()


def test_a_worker_that_leads_is_killed_and_another_grows_the_log(make_network: MakeNetwork) -> None:
    """Both first workers are killed in turn: at the latest the second one leads by then."""
    network = make_network(BANK, SHOP)
    network.publish("shop", "fraud", LISTED)
    network.start("shop", workers=2)
    network.start("bank")
    network.ready("bank")
    supervisor = psutil.Process(network.process("shop").pid)
    ports = {section.port for _, section in network.members["shop"].config.listen}
    first = until(lambda: _serving(supervisor, ports, 2), "two workers that listen on all ports")
    until(lambda: network.log("shop", "ledger_begun"), "the log to begin")
    leaders = len(network.log("shop", "leading"))
    for place, victim in enumerate(first):
        victim.kill()
        until(lambda: network.check("bank", LISTED[place])["complete"], "whole answers again")  # noqa: B023 - used at once
        # Within seconds, not within minutes: it takes less than one where nothing else runs.
        until(lambda: _all_final(network), "what was answered to be final in the owner's log", seconds=10)
        until(lambda: _serving(supervisor, ports, 2), "two workers again")
    assert len(network.log("shop", "leading")) > leaders
    assert len(network.log("shop", "ledger_begun")) > 1
    network.stop()


def _all_final(network: Running) -> bool:
    """Whether all that the shop keeps has an entry below a final checkpoint, without a gap."""
    [row] = network.rows(
        "shop",
        "select (select count(*) from ledger_pending) as pending, (select count(*) from ledger_entries) as entries,"
        " (select count(*) from receipts) as receipts,"
        " (select count(*) from ledger_entries where kind = 'receipt') as accounted,"
        " (select max(size) from ledger_checkpoints where final_at is not null) as final",
    )
    whole = row["receipts"] == row["accounted"] > 0
    return bool(not row["pending"] and whole and row["final"] == row["entries"])


def _serving(supervisor: psutil.Process, ports: set[int], count: int) -> set[psutil.Process]:
    """The workers that listen on all these ports, if they are so many."""
    found = set()
    for child in supervisor.children():
        try:
            listening = {each.laddr.port for each in child.net_connections() if each.status == psutil.CONN_LISTEN}
        except psutil.Error:
            continue
        if ports <= listening:
            found.add(child)
    return found if len(found) == count else set()


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


# -- stopping -------------------------------------------------------------------------------------------------------


def test_sigterm_ends_every_process_the_workers_and_postgresql_too(
    make_network: MakeNetwork, short_folder: Path
) -> None:
    spec = Spec("shop", "Shop", "payment", settings={"store": {"server_dir": short_folder / "pg", "database": "shop"}})
    network = make_network(spec)
    network.start(workers=2)
    supervisor = psutil.Process(network.process("shop").pid)
    server = [process for process in psutil.process_iter() if _about(process, short_folder)]
    assert any("postgres" in process.name() for process in server)
    everything = [supervisor, *supervisor.children(recursive=True), *server]
    network.process("shop").terminate()
    assert network.process("shop").wait(PATIENCE) == 0
    until(lambda: not any(_runs(process) for process in everything), "the end of all processes")
    assert not [process for process in psutil.process_iter() if _about(process, short_folder)]
    network.stop()


def _about(process: psutil.Process, folder: Path) -> bool:
    try:
        return any(str(folder) in argument for argument in process.cmdline())
    except psutil.Error:
        return False


# -- work that keeps failing ----------------------------------------------------------------------------------------


def test_health_names_work_that_keeps_failing(make_network: MakeNetwork) -> None:
    network = make_network(TELECOM)
    network.publish("telecom", "mules", LISTED)
    network.start()
    until(lambda: network.rows("telecom", "select 1 from snapshots"), "the first snapshot")
    segments = network.members["telecom"].config.paths.data_dir / "segments"
    aside = segments.with_name("aside")
    segments.rename(aside)
    segments.write_text("no folder any more")
    network.publish("telecom", "mules", MORE)
    sick = until(lambda: _failed(network), "health that names the work")
    assert sick["failed"] == ["work"]
    assert "publish: " in sick["parts"]["work"]
    segments.unlink()
    aside.rename(segments)
    until(lambda: network.probe("telecom", "healthz")[0] == 200, "health again")
    until(lambda: len(network.rows("telecom", "select 1 from snapshots")) > 1, "the next snapshot")
    network.stop()


def _failed(network: Running) -> dict[str, object] | None:
    found = network.health("telecom")
    return found if "failed" in found else None
