"""The originals' clients, with the library that their users have: `websockets`.

In: the name of a scenario and an address. Out: one line for each thing that was heard. Must stay true: it says `ready` when all that was
said before is heard, so that whoever reads may go on.
"""

import asyncio
import json
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus


def tell(*words):
    print(*words, flush=True)


async def settle(socket):
    await (await socket.ping())
    tell("ready")


async def visits(address):
    async with connect(f"ws://{address}/ws") as socket:
        await settle(socket)
        tell(await socket.recv())
        await socket.send(json.dumps({"type": "setFilter", "filter": {"account": 2}}))
        await socket.send(b"\x00")
        await settle(socket)
        tell(await socket.recv())
        await socket.send("close")
        try:
            await socket.recv()
        except ConnectionClosed as closed:
            tell("closed", closed.rcvd.code)


async def events(address):
    for query in ("", "?organization_id=one&user_id=1", "?organization_id=1"):
        try:
            async with connect(f"ws://{address}/getEvents/payment{query}"):
                tell("let in")
        except InvalidStatus as refused:
            answer = refused.response
            tell("refused", answer.status_code, answer.headers["content-type"], len(answer.body or b""))
    async with connect(f"ws://{address}/getEvents/payment?organization_id=1&user_id=1") as socket:
        tell(json.loads(await socket.recv()) == {"type": "ping"})
        await settle(socket)
        tell(json.loads(await socket.recv()) == {"type": "event", "channel": "payment"})


asyncio.run({"visits": visits, "events": events}[sys.argv[1]](sys.argv[2]))
