"""One HTTP/1.1 connection for large requests: bytes go to the socket as they are, and only the short answer is parsed.

A general client (httpx over httpcore and anyio) takes about 2.5 core-ms a request of 430 kB, which at 64 requests a second is a sixth of a
core that the pictures' encoding needs. Here a request costs what its bytes cost. h11 keeps the protocol's rules on both sides. There are
no redirects, no cookies and no proxies: a proxy from the environment would carry footage to a host that nobody named.
"""

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from urllib.parse import urlsplit

import h11

_CHUNK = 1 << 16  # bytes read at a time


@cache
def _trusted() -> ssl.SSLContext:
    """Made once: reading the certificates takes 80 ms."""
    return ssl.create_default_context()


class NotConnectedError(OSError):
    """Nobody listens there."""


@dataclass(frozen=True, kw_only=True)
class Response:
    """A server's whole answer."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


class Connection:
    """A connection to the host of one base URL, opened when it is needed and kept open between requests. One request at a time."""

    def __init__(self, base_url: str, *, most_bytes: int, context: ssl.SSLContext | None = None) -> None:
        """most_bytes: of an answer's body. context: for https; None trusts what this machine trusts."""
        parts = urlsplit(base_url)
        self._is_secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port or (443 if self._is_secure else 80)
        self._path, self._name = parts.path.rstrip("/"), parts.netloc.rpartition("@")[2]
        self._context, self._most_bytes = context, most_bytes
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, headers: Mapping[str, str], body: bytes) -> Response:
        """POST to a path below the base URL; see `send`."""
        return await self.send("POST", self._path + path, headers, body)

    async def send(self, method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> Response:
        """A request for a path of the host. NotConnectedError, another OSError, or ValueError for what is no HTTP or too large.

        After an error, or when cancelled, the connection is closed and the next request opens a new one.
        """
        try:
            response, is_reusable = await self._exchange(method, target, headers, body)
        except BaseException:
            self.close()
            raise
        if not is_reusable:
            self.close()
        return response

    def close(self) -> None:
        """Close at once; an answer under way is lost."""
        if self._streams:
            self._streams[1].transport.abort()
            self._streams = None

    async def _exchange(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[Response, bool]:
        reader, writer = await self._open()
        protocol = h11.Connection(h11.CLIENT)
        given = [("Host", self._name), ("Content-Length", str(len(body))), *headers.items()]
        try:
            writer.write(protocol.send(h11.Request(method=method, target=target, headers=given)) or b"")
            protocol.send_with_data_passthrough(h11.Data(data=body))
            writer.write(body)
            protocol.send(h11.EndOfMessage())
            await writer.drain()
            head: h11.Response | None = None
            parts, size = [], 0
            while True:
                event = protocol.next_event()
                if event is h11.NEED_DATA:
                    protocol.receive_data(await reader.read(_CHUNK))
                elif isinstance(event, h11.Response):
                    head = event
                elif isinstance(event, h11.Data):
                    size += len(event.data)
                    if size > self._most_bytes:
                        raise ValueError(f"the answer has more than {self._most_bytes} bytes")
                    parts.append(bytes(event.data))
                elif isinstance(event, h11.EndOfMessage):
                    break
        except h11.ProtocolError as error:
            raise ValueError(f"not HTTP/1.1: {error}") from error
        assert head is not None, "h11 ends no message that has not begun"
        found = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        is_reusable = protocol.our_state is h11.DONE and protocol.their_state is h11.DONE and not protocol.trailing_data[0]
        return Response(status=head.status_code, headers=found, body=b"".join(parts)), is_reusable

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams and (self._streams[0].at_eof() or self._streams[1].is_closing()):
            self.close()  # the server ended it while it was idle
        if self._streams is None:
            try:
                context = (self._context or _trusted()) if self._is_secure else None
                self._streams = await asyncio.open_connection(self._host, self._port, ssl=context, limit=_CHUNK)
            except ssl.SSLError:
                raise
            except OSError as error:
                raise NotConnectedError(str(error)) from error
        return self._streams
