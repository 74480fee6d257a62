"""The work of `list withdraw`, `dispute` and `restore`."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from riskshare.cli.acting import Own, opened
from riskshare.cli.publication import await_publication
from riskshare.cli.screen import Screen, counted
from riskshare.errors import InputError
from riskshare.membership.identifier import Identifier, mask, parse
from riskshare.peer.opening import now
from riskshare.sharing.changing import Decider
from riskshare.sharing.kept import Change
from riskshare.sharing.states import SENTENCES, Refusal, Settled

_DONE: Final = {"withdraw": "withdrawn", "dispute": "disputed", "restore": "restored"}


def decide_on(config_file: Path, name: str, texts: Sequence[str], case: str, change: Change, *, json: bool) -> int:
    """Withdraw, dispute or restore what is named; gives the exit code: 1 if some could not be.

    Raises:
        InputError: no such list or case, neither or both of identifiers and a case, a text that is no identifier;
            then nothing was changed.

    """
    if bool(texts) == bool(case):
        raise InputError("Name identifiers, or a case reference with --case: one of the two.")
    wanted = [parse(text, position=position) for position, text in enumerate(texts)]
    return asyncio.run(
        _decide(config_file, name, list(dict.fromkeys(wanted)), case, change, screen=Screen(as_json=json))
    )


async def _decide(
    config_file: Path, name: str, wanted: Sequence[Identifier], case: str, change: Change, *, screen: Screen
) -> int:
    async with opened(config_file, screen) as own:
        of = await own.list_named(name)
        settled = await decider_of(own).decide(of, change, identifiers=wanted, case=case)
        done = sum(one.code is None for one in settled)
        outcome = await await_publication(own, of.name, screen) if done else None
        full = f"{own.member.name}/{of.name}"
    told = _Told(full, change, settled, [mask(one) for one in wanted])
    screen.result({**told.to_json(), **(outcome.to_json() if outcome else {})})
    told.tell(screen)
    if outcome:
        outcome.tell(screen, of.name)
    return 0 if all(one.done for one in settled) else 1


def decider_of(own: Own) -> Decider:
    """What decides about the entries of a member."""
    registry = own.member.registry
    return Decider(
        member=own.member.name,
        data_key=own.member.data_key,
        lists=own.store.lists,
        never=own.store.never,
        most_days=registry.most_days,
        now=now,
        random=secrets.token_bytes,
    )


class _Told:
    """What is said of a decision. Of a case the entries stay unnamed."""

    def __init__(self, full: str, change: Change, settled: Sequence[Settled], masked: Sequence[str]) -> None:
        self._full = full
        self._change = change
        self._done = [one for one in settled if one.code is None]
        self._named = list(zip(masked, settled, strict=True)) if masked else []
        self._refused = Counter(one.code for one in settled if one.code is not None)

    def to_json(self) -> dict[str, Any]:
        """For a program."""
        return {
            "list": self._full,
            _DONE[self._change.action]: len(self._done),
            "not_listed": self._of("not_listed"),
            "refused": [
                {"identifier": masked, "code": one.code, "message": SENTENCES[one.code]}
                for masked, one in self._named
                if one.code not in (None, "not_listed")
            ],
            "refused_by_code": dict(sorted(self._refused.items())),
            "author": self._change.author,
            "reason": self._change.reason,
        }

    def _of(self, code: Refusal) -> list[str]:
        return [masked for masked, one in self._named if one.code == code]

    def tell(self, screen: Screen) -> None:
        """For a person."""
        number, word = len(self._done), _DONE[self._change.action]
        text = f"{counted(number, 'entry', 'entries')} of {self._full} {word} ({self._change.reason})."
        screen.say(text, "green" if number else "")
        upheld = sum(one.upheld for one in self._done)
        if upheld and word == "restored":
            screen.say(f"Of these, an appeal had been upheld before: {upheld:,}.", "yellow")
        for masked in self._of("not_listed"):
            screen.say(f"Not on the list: {masked}", "yellow")
        for masked, one in self._named:
            if one.code not in (None, "not_listed"):
                screen.say(f"{masked}: {SENTENCES[one.code]}", "yellow")
        if not self._named:
            for code, count in sorted(self._refused.items()):
                screen.say(f"{counted(count, 'entry', 'entries')}: {SENTENCES[code]}", "yellow")
