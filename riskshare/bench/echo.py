"""The bare other side of a POST: aiohttp over the same TLS, which answers with as many bytes as an owner would.

Run as a program: member configuration, bytes of the answer. It prints its port and ends when its input closes.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from aiohttp import web

from riskshare.config import Config
from riskshare.peer.opening import read_member
from riskshare.tls import peer_server_context

HOST = "127.0.0.1"


async def run(config_file: Path, size: int) -> None:
    """Serve until standard input ends."""
    member = read_member(Config.load(config_file))
    anchors = [der for each in member.registry.members.values() for der in each.certificates(each.joined_at)]
    context = peer_server_context(member.keys.tls_certificate_file, member.keys.tls_key_file, anchors)
    body = bytes(size)

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=body, headers={"Content-Type": "application/cbor"})

    app = web.Application()
    app.router.add_post("/", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0, ssl_context=context).start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2])))
