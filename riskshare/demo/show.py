"""What the demo prints: for people, and as JSON for programs."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from riskshare.demo.accounting import Accounted
from riskshare.demo.auditing import Audited
from riskshare.demo.play import Outcome, Seen, Told
from riskshare.demo.scenario import LISTS, MEMBERS

_TITLES = {member.name: member.title for member in MEMBERS}
_COLOURS = {"hit": "bold red", "clear": "bold green", "incomplete": "bold yellow"}


def show(outcome: Outcome, console: Console) -> None:
    """Tell the story of the demo."""
    _show_lists(outcome, console)
    console.rule("[bold]What Harbour Bank asked, and what came back")
    for told in outcome.single:
        _show_told(told, console)
    _show_again(outcome, console)
    _show_batch(outcome, console)
    console.rule("[bold]What an owner could see of the first question")
    for seen in outcome.seen:
        _show_seen(outcome, seen, console)
    if outcome.accounted is not None:
        _show_accounted(outcome.accounted, console)
    if outcome.audited is not None:
        _show_audited(outcome.audited, console)
    if outcome.passed:
        count = len(outcome.single) + len(outcome.batch) + 1
        console.print(
            f"[bold green]All {count} answers were the expected ones; every receipt, the ledger and the audit hold."
        )
    else:
        console.print("[bold red]Something was not as expected; see above.")


def _show_lists(outcome: Outcome, console: Console) -> None:
    table = Table(title="Published lists", title_justify="left", header_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for column, whole in (("owner", False), ("list", True), ("category", True), ("identifiers of types", False)):
        table.add_column(column, no_wrap=whole)  # of 80 columns there is room for these words
    table.add_column("entries", justify="right", no_wrap=True)
    for each in LISTS:
        entries = outcome.scenario.entries[each.full_name]
        table.add_row(_TITLES[each.member], each.name, each.category, ", ".join(each.types), f"{len(entries):,}")
    console.print(table)
    console.print(
        f"{outcome.scenario.count:,} entries imported, published under the owners' secret keys and replicated to every "
        f"subscriber; everything ready after {outcome.setup_seconds:.1f} s.\n"
    )


def _show_told(told: Told, console: Console) -> None:
    answer = told.answer
    word = answer["verdict"]
    console.print(
        Text.assemble((f"{told.asked.title}. ", "bold"), f"Asked for {told.asked.purpose}: ", ", ".join(told.masked))
    )
    line = Text.assemble("  verdict ", (word, _COLOURS[word]), f" in {answer['ms']:.1f} ms")
    owners = ", ".join(
        f"{_TITLES[owner['owner']]} {owner['status']} after {owner['ms']:.1f} ms" for owner in answer["owners"]
    )
    console.print(line.append(f" ({owners})"))
    for hit in answer["hits"]:
        console.print(
            f"  listed by {_TITLES[hit['owner']]} on {hit['list']}: level {hit['level']}, reason {hit['reason']}, "
            f"case {hit['case']}, valid until {hit['valid_until'][:10]}"
        )
    if answer["receipts"]:
        console.print(f"  receipts: {', '.join(receipt[:16] + '…' for receipt in answer['receipts'])}", style="dim")
    if not told.passed:
        console.print(
            f"  NOT EXPECTED: it should stand on {sorted(told.asked.expected) or 'no list'}", style="bold red"
        )
    console.print()


def _show_again(outcome: Outcome, console: Console) -> None:
    if outcome.again is None:
        return
    answer = outcome.again.answer
    statuses = {owner["status"] for owner in answer["owners"]}
    console.print(
        f"[bold]The first question once more:[/bold] {answer['verdict']} in {answer['ms']:.1f} ms, "
        f"{' and '.join(statuses)}: the tokens were still in memory, nobody was asked again.\n"
    )


def _show_batch(outcome: Outcome, console: Console) -> None:
    hits = sum(told.answer.get("verdict") == "hit" for told in outcome.batch)
    clears = sum(told.answer.get("verdict") == "clear" for told in outcome.batch)
    receipts = {receipt for told in outcome.batch for receipt in told.answer.get("receipts", ())}
    console.print(
        f"[bold]A batch of {len(outcome.batch)} checks in one request:[/bold] {hits} hits, {clears} clear in "
        f"{outcome.batch_ms:.0f} ms. Questions to one owner travelled together: {len(receipts)} receipts account "
        "for all of them.\n"
    )


def _show_seen(outcome: Outcome, seen: Seen, console: Console) -> None:
    ask = seen.ask
    masked = outcome.single[0].masked[0]
    body = Text()
    body.append(f"In place of {masked} it received these {len(seen.elements)} bytes:\n\n  ", style="")
    body.append(f"{seen.elements.hex()}\n\n", style="bold cyan")
    body.append(
        "a point of ristretto255, blinded with a number that the bank drew for this check and never sends. For "
        "every identifier there is a number that gives this very point: the bytes fit all of them.\n"
        "Besides, the owner knows: "
    )
    body.append(f"{ask['querier']} asked, {ask['count']} element, purpose {ask['purpose']}, at {ask['asked_at']}.\n")
    body.append("Whether it was a hit it does not learn: the bank looked that up in its own copy of the list.\n\n")
    verdict = "the same bytes at both" if seen.same_at_both else "NOT THE SAME"
    signatures = "both signatures hold" if seen.signatures_hold else "A SIGNATURE FAILS"
    body.append(f"receipt {seen.receipt}\n{verdict}: kept in two databases; {signatures}.", style="dim")
    console.print(Panel(body, title=_TITLES[seen.owner], title_align="left"))


def _show_accounted(accounted: Accounted, console: Console) -> None:
    console.rule("[bold]What nobody can deny, alter or hide any more")
    body = Text(no_wrap=True, overflow="ellipsis")
    body.append(accounted.checkpoint.rstrip("\n"), style="cyan")
    console.print(Panel(body, title="The checkpoint of Harbour Bank's log, signed and cosigned", title_align="left"))
    names = ", ".join(_TITLES[member] for member in accounted.cosigned_by)
    console.print(
        f"Cosigned by {names}; {accounted.needed} are needed. It was final {accounted.seconds:.1f} s after the last "
        f"question. Every member has such a log: {', '.join(f'{size:,}' for size in accounted.logs.values())} entries."
    )
    console.print(
        f"A stranger read the log from its URL and derived all {accounted.verified['size']:,} entries anew: it holds.\n"
        f"The proof of receipt {accounted.receipt[:16]}…, entry {accounted.proof['index']:,}, was verified offline."
    )
    altered = accounted.altered
    console.print(f"\n[bold]Then one bit of a copy was altered[/bold], byte {altered.place:,} of {altered.path}:")
    if altered.named:
        console.print(Text(f"  {altered.message}", style="bold red"))
    else:
        console.print("  IT WAS NOT FOUND, or not named.", style="bold white on red")
    console.print()


def _show_audited(audited: Audited, console: Console) -> None:
    console.rule("[bold]What the regulator can prove of all of them")
    sizes = {one["member"]: one["size"] for one in audited.replay["checkpoints"]}
    console.print(
        f"Read under a signed request that both sides logged: {sum(sizes.values()):,} entries of {len(sizes)} logs, "
        f"each derived anew, with the statement behind it. {audited.exchanges:,} exchanges stand in the logs of both "
        f"sides, signed by both."
    )
    clean = audited.replay["clean"] and audited.reconcile["clean"]
    words = (
        "Every step of the audit holds, and there is no finding." if clean else "THERE ARE FINDINGS, and should not."
    )
    console.print(Text(f"  {words}", style="bold green" if clean else "bold white on red"))
    rewritten = audited.rewritten
    console.print(
        f"\n[bold]Then {_TITLES[rewritten.member]} rewrote its records in a copy[/bold]: an answer of "
        f"{rewritten.before} became one of {rewritten.after}."
    )
    if rewritten.named:
        finding = rewritten.finding
        console.print(Text(f"  {_TITLES[finding['accused']]}, {finding['kind']}: {finding['sentence']}", "bold red"))
    else:
        console.print("  IT WAS NOT FOUND, or somebody else was blamed.", style="bold white on red")
    console.print()


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The same for a program."""
    return {
        "passed": outcome.passed,
        "entries": outcome.scenario.count,
        "lists": [
            {
                "list": each.full_name,
                "category": each.category,
                "entries": len(outcome.scenario.entries[each.full_name]),
            }
            for each in LISTS
        ],
        "setup_seconds": round(outcome.setup_seconds, 3),
        "checks": [_told_json(told) for told in outcome.single],
        "repeated": _told_json(outcome.again) if outcome.again else None,
        "batch": {
            "checks": len(outcome.batch),
            "passed": sum(told.passed for told in outcome.batch),
            "hits": sum(told.answer.get("verdict") == "hit" for told in outcome.batch),
            "ms": round(outcome.batch_ms, 3),
        },
        "seen_by_owners": [
            {
                "owner": seen.owner,
                "receipt": seen.receipt,
                "elements": seen.elements.hex(),
                "ask": seen.ask,
                "same_at_both": seen.same_at_both,
                "signatures_hold": seen.signatures_hold,
            }
            for seen in outcome.seen
        ],
        "ledger": _accounted_json(outcome.accounted) if outcome.accounted else None,
        "audit": _audited_json(outcome.audited) if outcome.audited else None,
    }


def _audited_json(audited: Audited) -> dict[str, Any]:
    rewritten = audited.rewritten
    return {
        "passed": audited.passed,
        "exchanges": audited.exchanges,
        "clean": audited.reconcile["clean"] and audited.replay["clean"],
        "complete": audited.reconcile["complete"] and audited.replay["complete"],
        "rewritten": {
            "member": rewritten.member,
            "entry": rewritten.index,
            "before": rewritten.before,
            "after": rewritten.after,
            "named": rewritten.named,
            "findings": rewritten.report["findings"],
        },
    }


def _accounted_json(accounted: Accounted) -> dict[str, Any]:
    altered = accounted.altered
    return {
        "passed": accounted.passed,
        "checkpoint": accounted.checkpoint,
        "cosigned_by": list(accounted.cosigned_by),
        "quorum": accounted.needed,
        "final_after_seconds": round(accounted.seconds, 3),
        "logs": accounted.logs,
        "verified": accounted.verified,
        "proof": accounted.proof,
        "altered": {
            "path": altered.path,
            "byte": altered.place,
            "entry": altered.entry,
            "named": altered.named,
            "error": {"code": altered.code, "message": altered.message},
        },
    }


def _told_json(told: Told) -> dict[str, Any]:
    return {
        "title": told.asked.title,
        "identifiers": list(told.masked),
        "purpose": told.asked.purpose,
        "expected": sorted(told.asked.expected),
        "passed": told.passed,
        "answer": told.answer,
    }
