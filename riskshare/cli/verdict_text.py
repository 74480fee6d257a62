"""A verdict in words and tables, for somebody who decides about a payment. Identifiers are masked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.text import Text

from riskshare.api_models import CheckResponse, HitModel, OwnerModel
from riskshare.cli.screen import Screen, clean, counted, day
from riskshare.membership.identifier import Identifier, mask

STYLES: Final = {
    "hit": ("HIT", "bold white on red"),
    "clear": ("CLEAR", "bold black on green"),
    "incomplete": ("INCOMPLETE", "bold black on yellow"),
}
MEANING: Final = {
    "answered": "",
    "cached": "known from before, not asked",
    "late": "no answer within the deadline",
    "down": "cannot be reached",
    "stale": "its list was not confirmed lately",
    "untrusted": "what it sent must not be believed; or our registry has expired, see /healthz",
    "refused": "refused to answer; see the peer's log",
}
_MARK: Final = {"answered": "green", "cached": "green"}
_LEVEL: Final = {"critical": "bold red", "high": "red", "medium": "yellow"}


def tell_verdict(screen: Screen, asked: Sequence[Identifier], verdict: CheckResponse) -> None:
    """Show one check: the verdict first, then why, then who was asked, then the proof."""
    screen.say(Text.assemble(_badge(verdict), "  ", (_sentence(asked, verdict), "bold")))
    if verdict.hits:
        _tell_hits(screen, asked, verdict.hits)
    elif len(asked) > 1:
        screen.say("   asked: " + ", ".join(mask(one) for one in asked), "dim")
    if verdict.owners:
        rows = [(one.owner, _status(one), f"{one.ms:.1f}", _lists(one), MEANING[one.status]) for one in verdict.owners]
        screen.table(("owner", "status", "ms", "lists and versions", ""), rows, right=("ms",))
    proof = [("receipt", receipt) for receipt in verdict.receipts]
    screen.pairs([("took", f"{verdict.ms:.1f} ms"), ("check", verdict.check), *proof])


def tell_line(screen: Screen, number: int, asked: Identifier, verdict: CheckResponse) -> None:
    """Show one of many checks, on one line."""
    word, style = STYLES[verdict.verdict]
    why = "; ".join(f"{hit.list} ({hit.category}, {hit.level})" for hit in verdict.hits)
    if verdict.verdict == "incomplete":
        why = ", ".join(f"{one.owner} {one.status}" for one in verdict.owners if one.status not in _MARK)
    screen.say(
        Text.assemble(f"{number:>7}  ", (word.center(12), style), f"  {mask(asked)}", (f"   {clean(why)}", "dim"))
    )


def tell_problem(screen: Screen, number: int, message: str) -> None:
    """Show that one of many checks has no verdict."""
    screen.say(Text.assemble(f"{number:>7}  ", ("NO VERDICT".center(12), "bold magenta"), f"  {clean(message)}"))


def _badge(verdict: CheckResponse) -> Text:
    word, style = STYLES[verdict.verdict]
    return Text(f" {word} ", style)


def _sentence(asked: Sequence[Identifier], verdict: CheckResponse) -> str:
    silent = [one.owner for one in verdict.owners if one.status not in _MARK]
    if verdict.verdict == "clear":
        if not any(one.lists for one in verdict.owners):
            subject = mask(asked[0]) if len(asked) == 1 else f"{len(asked)} identifiers"
            return f"No list was looked into: nobody publishes one of these categories. Nothing is known of {subject}."
        subject = f"{mask(asked[0])} is not" if len(asked) == 1 else f"None of {len(asked)} identifiers is"
        return f"{subject} on any list; {counted(len(verdict.owners), 'owner')} took part."
    if verdict.verdict == "incomplete":
        return (
            f"No hit, but {counted(len(silent), 'owner')} of {len(verdict.owners)} did not take part fully"
            f" ({', '.join(silent)}): this is not a clear."
        )
    listed = len({hit.identifier for hit in verdict.hits})
    subject = (
        mask(asked[0]) + " is"
        if len(asked) == 1
        else f"{listed} of {len(asked)} identifiers {'is' if listed == 1 else 'are'}"
    )
    where = counted(len({hit.list for hit in verdict.hits}), "list")
    return f"{subject} on {where}." + (f" Not all took part: {', '.join(silent)}." if silent else "")


def _tell_hits(screen: Screen, asked: Sequence[Identifier], hits: Sequence[HitModel]) -> None:
    rows = [
        (
            mask(asked[hit.identifier]),
            hit.list,
            hit.category,
            Text(hit.level, _LEVEL.get(hit.level, "")),
            hit.reason,
            day(hit.listed_at),
            day(hit.valid_until),
            hit.case or "-",
            Text("disputed", "yellow") if hit.disputed else "",
        )
        for hit in hits
    ]
    screen.table(("identifier", "list", "category", "level", "reason", "listed", "valid until", "case", ""), rows)
    for hit in hits:
        screen.pairs(
            [
                (f"{hit.list}: {name}", text)
                for name, text in (("evidence", hit.evidence), ("appeal", hit.appeal))
                if text
            ]
        )


def _status(owner: OwnerModel) -> Text:
    return Text(owner.status, _MARK.get(owner.status, "bold yellow"))


def _lists(owner: OwnerModel) -> str:
    return ", ".join(f"{name} {version}" for name, version in owner.lists.items()) or "-"
