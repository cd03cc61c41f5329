"""The process: a socket, a web server around the application, and an orderly end."""

from __future__ import annotations

import ipaddress
import signal
import socket

import uvicorn
from fastapi import FastAPI

from jumok.errors import ConfigError

_CONNECTIONS = 512
"""At once; one more is answered with 503."""


def listen(host: str, port: int) -> socket.socket:
    """A socket at an address; port 0 is any that is free. Raises `ConfigError` if refused."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.create_server(address[:2], family=family, backlog=_CONNECTIONS)
    except (OSError, OverflowError, UnicodeError) as error:
        raise ConfigError(
            f"The server was to listen at {host}, port {port}, but the system refused: {error}. "
            "Choose another (--host, --port; 0 is any port that is free)"
        ) from None
    # connections inherit it: an answer's head and body are two writes, and the second would wait
    # 40 ms for the first one's acknowledgement
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return found


def is_loopback(listener: socket.socket) -> bool:
    """Whether only this machine can reach it."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def serve(app: FastAPI, listener: socket.socket, seconds: float) -> None:
    """Answer until SIGTERM or Ctrl-C; then take nothing more, and finish what was begun, for at
    most ``seconds``."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # texts are the user's own; /metrics counts
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=max(1, round(seconds)),
        lifespan="on",
    )
    server = uvicorn.Server(config)

    def end(*_: object) -> None:
        server.should_exit = True

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, end)  # until uvicorn has its own, and when it raises it anew at the end
    server.run(sockets=[listener])
