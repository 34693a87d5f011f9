"""What counts connections, on real ones."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from edgeleuk.serve import bounds

if TYPE_CHECKING:
    import pytest


def test_a_connection_that_ended_with_something_to_send_keeps_nobody_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a WebSocket ends whose last words were still on their way: its end is not told here."""
    monkeypatch.setattr(bounds, "MOST_CONNECTIONS", 1)
    admitted: list[bool] = []

    async def talk() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            connections = bounds.Connections(listener)

            class Speaker(asyncio.Protocol):
                def connection_made(self, transport: asyncio.BaseTransport) -> None:
                    assert isinstance(transport, asyncio.Transport)
                    admitted.append(connections.admit(transport))
                    transport.write(bytes(20_000_000))
                    transport.close()

            loop = asyncio.get_running_loop()
            server = await loop.create_server(Speaker, sock=listener)
            for _ in range(3):
                reader, writer = await asyncio.open_connection(*listener.getsockname()[:2])
                assert len(await reader.read(-1)) == 20_000_000
                writer.close()
            server.close()

    asyncio.run(talk())
    assert admitted == [True] * 3
