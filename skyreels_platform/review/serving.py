"""Serves a page until it is interrupted."""

import socket
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette

from skyreels_platform.errors import SkyreelsError
from skyreels_platform.review.guard import Guard


def serve(make: Callable[[Guard], Starlette], *, host: str, port: int, token: str, on_ready: Callable[[Guard], None]) -> None:
    """Listen on host and port (0: any that is free), tell `on_ready`, and serve. SkyreelsError if the place is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
            listening.listen()  # who opens the address at once waits instead of being refused
        except OSError as error:
            raise SkyreelsError(f"cannot listen on {host} port {port}: {error.strerror}; name another with --port") from error
        guard = Guard(host, listening.getsockname()[1], token)
        settings = uvicorn.Config(make(guard), log_level="warning", ws="none", lifespan="off", server_header=False)
        on_ready(guard)
        uvicorn.Server(settings).run(sockets=[listening])
