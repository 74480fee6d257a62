"""Declared here: `init` and `serve`."""

# ruff: noqa: PLC0415 - each command loads what it needs when it runs

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated

import typer

from riskshare.cli.options import CONFIG_FILE, ConfigOption, JsonOption


def init(
    *,
    directory: Annotated[Path, typer.Option("--dir", help="Folder for the member.", metavar="DIR", file_okay=False)],
    name: Annotated[str, typer.Option("--name", help="The member's short name, such as icbc.")],
    url: Annotated[
        str, typer.Option("--url", help="Where other members reach its peer, such as https://peer.icbc.example:8443.")
    ],
    network: Annotated[
        Path | None,
        typer.Option(
            "--network", metavar="FILE", help="The network's registry, if you have it.", exists=True, dir_okay=False
        ),
    ] = None,
    pin: Annotated[
        str, typer.Option("--pin", metavar="SHA256", help="The digest of FILE that a governor told you.")
    ] = "",
    network_name: Annotated[
        str, typer.Option("--network-name", help="Name of the network to join, if you do not have its registry.")
    ] = "riskshare",
    title: Annotated[str, typer.Option("--title", help="The member's full name.")] = "",
    kind: Annotated[
        str, typer.Option("--kind", help="What it is: bank, wallet, card_network, telecom, regulator …")
    ] = "bank",
    roles: Annotated[
        str, typer.Option("--roles", help="What it wants to be: owner, querier, auditor; with commas between.")
    ] = "owner,querier",
    json: JsonOption = False,
) -> None:
    """Make a member: keys, configuration, an API key, and the signed request to join the network.

    Example: [bold]riskshare init --dir bank --name bank --url https://127.0.0.1:8443 --network net/network.json[/bold]
    """
    from riskshare.cli.joining import Wish, make_member

    words = tuple(word.strip() for word in roles.split(",") if word.strip())
    make_member(directory, Wish(name, url, network, pin, network_name, title, kind, words), json=json)


def serve(
    config: ConfigOption = CONFIG_FILE,
    workers: Annotated[int, typer.Option("--workers", min=1, max=256, help="Processes that share the work.")] = 1,
) -> None:
    """Run the member's peer until Ctrl-C: it publishes, subscribes, answers others and checks for clients.

    Example: [bold]riskshare serve --config bank/riskshare.toml[/bold]
    """
    # What is loaded now stays: to look for garbage in it again and again would cost a tenth of the start.
    gc.disable()
    from riskshare.cli.acting import check_config_file
    from riskshare.peer.serve import serve as run

    gc.freeze()
    gc.enable()
    check_config_file(config)
    run(config, workers)
