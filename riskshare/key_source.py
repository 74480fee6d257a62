"""Where a member's keys come from: files, the environment, or a command; each kind of key from a place of its own.

Whatever the place, a key is the one line of a key file, `riskshare/v1/<kind>-key <64 hex digits>`: the kind is part of
it, so that keys that were mixed up are noticed. The TLS key stays a file, since `ssl` reads it from one.

    file      <kind>.key in `paths.keys_dir`, mode 0600
    env       RISKSHARE_KEY_<KIND>; all of them are taken out of the environment before the first is used, so that no
              child process gets them
    command   what a command writes to its standard output: the client of a key management service or hardware module

Nothing of a key, nor of what a command said, is in a log, a sentence, or a `repr`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from typing import Final, assert_never, final

from riskshare.config import Config
from riskshare.config_sections import KeySourceName
from riskshare.errors import ConfigError
from riskshare.keys import KeyFiles, KeySource, parse_key

ENVIRONMENT: Final = "RISKSHARE_KEY_"
PLACE: Final = "{kind}"
"""Stands in a command for the kind of the key; a command without it gets the kind as its last argument."""

COMMAND_SECONDS: Final = 10.0
MOST_BYTES: Final = 4096
"""Longest output of a command."""

_TAKEN: Final[dict[str, str]] = {}
"""What was taken out of this process's environment: a command may read its keys twice."""


@final
class KeyVariables:
    """Keys in the environment, which has none of them any more once this is made."""

    def __init__(self, environment: MutableMapping[str, str], taken: MutableMapping[str, str] = _TAKEN) -> None:
        for name in [name for name in environment if name.startswith(ENVIRONMENT)]:
            taken[name] = environment.pop(name)
        self._taken = taken

    def read(self, kind: str) -> bytes:
        """Give what stood in `RISKSHARE_KEY_<KIND>`.

        Raises:
            ConfigError: code `key_missing`, `key_malformed`.

        """
        name = variable(kind)
        text = self._taken.get(name)
        if text is None:
            raise ConfigError(
                f"The environment has no {name}: set it to the {kind} key's line, or name another source in [keys].",
                code="key_missing",
            )
        return parse_key(_line(text.encode()), _written(kind), name)

    def __repr__(self) -> str:
        return "KeyVariables()"


@final
class KeyCommand:
    """Keys that a command writes to its standard output, one a run. It is run without a shell."""

    def __init__(
        self, words: Sequence[str], environment: Mapping[str, str] | None = None, seconds: float = COMMAND_SECONDS
    ) -> None:
        self._words = tuple(words)
        self._environment = environment
        self._seconds = seconds

    def read(self, kind: str) -> bytes:
        """Run the command for a kind. What it writes to its standard error is shown to nobody.

        Raises:
            ConfigError: code `key_command`: it cannot be run, fails, takes too long, says too much;
                `key_malformed`: what it says is no such key.

        """
        words = [word.replace(PLACE, kind) for word in self._words]
        if words == list(self._words):
            words.append(kind)
        out, status = self._run(words, kind)
        if len(out) > MOST_BYTES:
            raise _refused(kind, f"wrote more than {MOST_BYTES} bytes")
        if status == -signal.SIGKILL:
            raise _refused(kind, f"had not ended after {self._seconds:g} seconds, or was killed")
        if status:
            raise _refused(kind, f"ended with status {status}")
        return parse_key(_line(out), _written(kind), "What the command of [keys] wrote")

    def _run(self, words: Sequence[str], kind: str) -> tuple[bytes, int]:
        """Output, one byte beyond the limit at most, and exit status."""
        environment = os.environ if self._environment is None else self._environment
        try:
            process = subprocess.Popen(  # noqa: S603 - the operator's own command, from the configuration
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={name: value for name, value in environment.items() if not name.startswith(ENVIRONMENT)},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise _refused(kind, f"cannot be run ({type(error).__name__})") from None

        def kill() -> None:
            # The whole session: a child of the command's may hold its output open.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        bell = threading.Timer(self._seconds, kill)
        bell.start()
        try:
            assert process.stdout is not None
            with process.stdout:
                out = process.stdout.read(MOST_BYTES + 1)
            if len(out) > MOST_BYTES:
                kill()
            return out, process.wait()
        finally:
            bell.cancel()


@final
class KeySources:
    """A source for each kind of key, and one for all others."""

    def __init__(self, others: KeySource, by_kind: Mapping[str, KeySource]) -> None:
        self._others = others
        self._by_kind = dict(by_kind)

    def read(self, kind: str) -> bytes:
        """Read a key where its kind is kept. Raises ConfigError."""
        return self._by_kind.get(_written(kind), self._others).read(kind)


def source_of(config: Config) -> KeySource:
    """The source of a member's keys by its configuration."""

    def named(name: KeySourceName) -> KeySource:
        match name:
            case "file":
                return KeyFiles(config.paths.keys_dir)
            case "env":
                return KeyVariables(os.environ)
            case "command":
                return KeyCommand(config.keys.command)
            case _:
                assert_never(name)

    others = named(config.keys.source)
    return KeySources(others, {kind: named(name) for kind, name in config.keys.exceptions.items()})


def variable(kind: str) -> str:
    """The name of the variable that holds a key: RISKSHARE_KEY_DATA."""
    return ENVIRONMENT + kind.upper().replace("-", "_")


def _written(kind: str) -> str:
    """The kind as the line says it: `data-next`, of a rotation, is a data key too."""
    return kind.partition("-")[0]


def _line(data: bytes) -> bytes:
    """The line of a key file; whoever sets a variable or writes a script easily forgets its end."""
    return data if data.endswith(b"\n") else data + b"\n"


def _refused(kind: str, what: str) -> ConfigError:
    return ConfigError(
        f"The command of [keys] for the {kind} key {what}. Run it by hand to see why; what it says is not shown here.",
        code="key_command",
    )
