"""One connection against raw servers: framings, reuse, ends in the wrong place, TLS."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from skyreels_platform.captioning.connection import Connection, NotConnectedError, Response

MOST = 1000
BODY = b"x" * 300_000

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def talk(
    answers: list[bytes], client: Callable[[Connection], Coroutine[Any, Any, Any]], *, closes: bool = False,
    tls: ssl.SSLContext | None = None, trust: ssl.SSLContext | None = None,
) -> tuple[Any, list[bytes], int]:  # fmt: skip
    """Run `client` against a server that gives `answers` one by one; what the client returns, the heads it sent, connections made."""
    heads: list[bytes] = []
    num_connections = 0
    left = iter(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal num_connections
        num_connections += 1
        try:
            while True:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                assert await reader.readexactly(len(BODY)) == BODY
                writer.write(next(left))
                await writer.drain()
                if closes:
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError, StopIteration):
            pass
        finally:
            writer.close()

    async def run() -> Any:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        scheme = "https" if tls else "http"
        connection = Connection(f"{scheme}://127.0.0.1:{port}/v1/", most_bytes=MOST, context=trust)
        try:
            return await client(connection)
        finally:
            connection.close()
            server.close()

    return asyncio.run(run()), heads, num_connections


async def once(connection: Connection) -> Response:
    return await connection.post("/chat/completions", {"X-Request-Id": "shot_1-abc"}, BODY)


async def twice(connection: Connection) -> list[Response]:
    first = await once(connection)
    await asyncio.sleep(0.05)  # whoever closes has closed by now
    return [first, await once(connection)]


PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Kind: a\r\n\r\nhello"


def test_a_request_is_whole_and_the_connection_is_used_again() -> None:
    found, heads, num_connections = talk([PLAIN, PLAIN], twice)
    assert [response.body for response in found] == [b"hello", b"hello"]
    assert (found[0].status, found[0].headers["x-kind"]) == (200, "a")
    assert num_connections == 1
    assert heads[0].startswith(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"X-Request-Id: shot_1-abc\r\n" in heads[0]


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", b"hello"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + PLAIN, b"hello"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", b""),
    ],
)
def test_framings(answer: bytes, body: bytes) -> None:
    assert talk([answer], once, closes=True)[0].body == body


def test_a_connection_that_the_server_ended_while_idle_is_opened_anew() -> None:
    found, _, num_connections = talk([PLAIN, PLAIN], twice, closes=True)
    assert [response.status for response in found] == [200, 200]
    assert num_connections == 2


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"y" * 5000, "more than 1000 bytes"),
        (b"hello\r\n\r\n", "not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", "not HTTP/1.1"),
        (b"", "not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000, "not HTTP/1.1"),
    ],
)
def test_what_is_no_answer_is_an_error_and_the_next_request_has_a_new_connection(answer: bytes, error: str) -> None:
    async def client(connection: Connection) -> Response:
        with pytest.raises(ValueError, match=error):
            await once(connection)
        return await once(connection)

    found, _, num_connections = talk([answer, PLAIN], client, closes=True)
    assert (found.body, num_connections) == (b"hello", 2)


def test_what_follows_an_answer_is_never_taken_for_the_next_one() -> None:
    found, _, num_connections = talk([PLAIN + PLAIN.replace(b"hello", b"other"), PLAIN], twice)
    assert [response.body for response in found] == [b"hello", b"hello"]
    assert num_connections == 2


def test_nobody_listens() -> None:
    connection = Connection("http://127.0.0.1:9/v1", most_bytes=MOST)
    with pytest.raises(NotConnectedError):
        asyncio.run(once(connection))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")
def test_certificates_are_checked(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    assert talk([PLAIN], once, tls=server, trust=ssl.create_default_context(cafile=str(certificate)))[0].body == b"hello"
    with pytest.raises(OSError, match="certificate verify failed"):
        talk([PLAIN], once, tls=server)
