import asyncio
import socket

from api.sockets.acceptor import listen


async def test_an_answer_is_sent_without_waiting_for_acknowledgements() -> None:
    [listener] = await listen("127.0.0.1", 0)
    loop = asyncio.get_running_loop()

    with listener, socket.create_connection(listener.getsockname()):
        accepted, _ = await loop.sock_accept(listener)
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
