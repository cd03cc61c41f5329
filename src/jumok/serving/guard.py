"""What every request has to pass, before anything of it is read: host, key, size, time.

Plain ASGI around the application, so that it also holds for what the application never sees.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import time
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from typing import Protocol, runtime_checkable

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jumok.errors import ConfigError
from jumok.serving.limits import Limits

OPEN = frozenset({"/", "/health", "/assets/page.css", "/assets/page.js", "/assets/attention.js"})
"""Where no key is needed: nothing of a user's is there."""

_SHORTEST_KEY = 16

Told = Callable[[str, int, float], None]
"""Told of every request: the path, the status and the seconds that it took."""


@runtime_checkable
class Fail(Protocol):
    """An answer for a status, a kind and a sentence; ``more`` are headers."""

    def __call__(
        self, status: int, kind: str, message: str, *, more: Mapping[str, str] | None = None
    ) -> Response: ...


class Guard:
    """Refuses what is not meant for this server, and counts everything.

    Args:
        app: what is guarded.
        limits: those of size and time.
        hosts: names that it may be asked by, in lower case; None: any. A page of another origin
            whose name was made to point to this machine asks by that name (DNS rebinding), so an
            address, which is no name, is always right.
        keys: one of them must come with a request (``Authorization: Bearer KEY``); none: no key.
        fail: makes an answer of an error.
        told: told of every request that was answered.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: Limits,
        hosts: Container[str] | None,
        keys: Sequence[str],
        fail: Fail,
        told: Told,
    ) -> None:
        self.app, self._limits, self._hosts, self._fail, self._told = app, limits, hosts, fail, told
        self._keys = [key.encode() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-content-type-options", b"nosniff"))
            await send(message)

        refused = self._refused(scope)
        try:
            if refused is None:
                await self.app(scope, self._limited(receive), sent)
            else:
                await refused(scope, receive, sent)
        finally:
            self._told(scope["path"], status, time.perf_counter() - begun)

    def _refused(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = _without_port(headers.get("host", ""))
        if not (self._hosts is None or host.lower() in self._hosts or _is_address(host)):
            return self._fail(
                421,
                "ForeignHost",
                f"This server answers to names that it was given, and '{host:.60}' is none of "
                "them. Start it with --allow-host, or ask by localhost",
            )
        if self._keys and scope["path"] not in OPEN and not self._has_key(headers):
            return self._fail(
                401,
                "NoKey",
                "This server wants a key with every request, as Authorization: Bearer KEY",
                more={"www-authenticate": "Bearer"},
            )
        if _number(headers.get("content-length")) > self._limits.body:
            return self._fail(413, "TooLarge", self._too_large(), more=_LAST)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if scope["method"] == "POST" and kind != "application/json":
            # a page of another origin may send every other kind without asking first
            return self._fail(
                415,
                "NoJson",
                "A request must be JSON and say so (content-type: application/json), but "
                f"{f'{kind:.60}' if kind else 'no content-type'} came",
            )
        return None

    def _has_key(self, headers: Headers) -> bool:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        came = key.strip(" ").encode("latin-1")  # as the header had it: UTF-8, if no ASCII
        # all are compared, each in a time that says nothing of what is right in it
        same = [hmac.compare_digest(came, known) for known in self._keys]
        return scheme.lower() == "bearer" and any(same)

    def _too_large(self) -> str:
        return (
            f"A request may have {self._limits.body:,} bytes at this server, but more came. "
            "Divide it, or start the server with a higher --max-texts or --max-characters"
        )

    def _limited(self, receive: Receive) -> Callable[[], Awaitable[Message]]:
        """``receive``, for a body that ends within its size and time."""
        left, ended = self._limits.body, False
        deadline = time.monotonic() + self._limits.seconds

        async def limited() -> Message:
            nonlocal left, ended
            if ended:  # what comes now is the client's going
                return await receive()
            try:
                async with asyncio.timeout(max(deadline - time.monotonic(), 0)):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(
                    408,
                    f"A request must have come to its end within {self._limits.seconds:g} s, but "
                    "this one had not",
                    _LAST,
                ) from None
            left -= len(message.get("body", b""))
            ended = not message.get("more_body", False)
            if left < 0:
                raise HTTPException(413, self._too_large(), _LAST)
            return message

        return limited


_LAST = {"connection": "close"}
"""What is left of such a request is not waited for."""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def check_keys(keys: Sequence[str]) -> None:
    """Raise `ConfigError` for keys that can be guessed."""
    if isinstance(keys, str):
        raise ConfigError("Keys must be a list of them, but one string came. Put it into a list")
    for key in keys:
        if len(key) < _SHORTEST_KEY:
            raise ConfigError(
                f"A key must have at least {_SHORTEST_KEY} characters, or it can be guessed, but "
                f"one of {len(key)} came. Make one: "
                'python -c "import secrets; print(secrets.token_hex())"'
            )


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() and not name.endswith(":") else host


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0
