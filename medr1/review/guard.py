"""What stands before the server of a review: who may ask it, and what its answers allow.

The server listens on this computer only, unless it was told to listen on a network. Against other
pages in the same browser and other programs on the computer:

- `Host` has to be the server's own address, so that no other name leads here (DNS rebinding). On a
  network it may also be the name of this computer, or any IP address, which no DNS server answers.
- Images and data need a cookie, which is given for the token in the printed address. The token is
  in the part behind `#`, which browsers do not send; the cookie is HttpOnly and SameSite=Strict.
- What changes something has to come from the server's own page: `Origin`, a header that forms
  cannot send, and JSON.
- The Content-Security-Policy allows the server's own script and style only, and no frame.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 64 * 1024
"""Largest body of a request, in bytes."""
OWN_HEADER = "x-medr1-review"
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclass(frozen=True)
class Access:
    """The token of a run of the server, and the cookie that it gives for it."""

    token: str
    port: int
    host: str = "127.0.0.1"
    """The IP address that the server listens on."""

    @property
    def is_on_network(self) -> bool:
        """Whether other computers may reach the server."""
        return not ip_address(self.host).is_loopback

    @property
    def address(self) -> str:
        """Name or address, and port, under which a browser reaches the server."""
        ip = ip_address(self.host)
        name = socket.gethostname() if ip.is_unspecified else f"[{ip}]" if ip.version == 6 else ip
        return f"{name}:{self.port}"

    @property
    def cookie_name(self) -> str:
        """The name of the cookie; ports share cookies, so it has the port."""
        return f"medr1_review_{self.port}"

    @property
    def cookie_value(self) -> str:
        """The value of the cookie, from which the token cannot be computed."""
        return hashlib.sha256(f"cookie {self.token}".encode()).hexdigest()

    def is_host(self, text: str) -> bool:
        """Whether a value of `Host` is one with which the server is addressed."""
        name, _, port = text.lower().rpartition(":")
        if port != str(self.port):
            return False
        if text.lower() == self.address.lower() or name in ("127.0.0.1", "localhost"):
            return True
        if self.is_on_network:
            with suppress(ValueError):
                return bool(ip_address(name.removeprefix("[").removesuffix("]")))
        return False

    def is_token(self, text: object) -> bool:
        """Whether a text is the token."""
        if not isinstance(text, str):
            return False
        # "surrogatepass": JSON can have a half of a character, which UTF-8 cannot
        sent = text.encode("utf-8", "surrogatepass")
        return hmac.compare_digest(sent, self.token.encode())

    def is_cookie(self, header: str) -> bool:
        """Whether the header `Cookie` has the cookie."""
        pairs = [pair.strip().partition("=") for pair in header.split(";")]
        values = [value for name, _, value in pairs if name == self.cookie_name]
        expected = self.cookie_value.encode()
        return any(hmac.compare_digest(value.encode(), expected) for value in values)


@dataclass(frozen=True)
class Guard:
    """An ASGI application that refuses what is not allowed, and asks another one for the rest."""

    app: ASGIApp
    access: Access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            status, reason = refusal
            response = JSONResponse({"error": reason}, status)
            await response(scope, receive, send_with_headers)
            return
        await self.app(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Why a request is refused, with the status; None where it is allowed."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self.access.is_host(hosts[0]):
            return 421, "this address is not the one of the review"
        if scope["method"] not in ("GET", "POST"):
            return 405, "only GET and POST are answered"
        path: str = scope["path"]
        is_page = not path.startswith(("/api/", "/image/"))
        if not is_page and headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return 403, "this was not asked by the page of the review"
        if scope["method"] == "POST":
            if headers.getlist("origin") != [f"http://{hosts[0]}"] or OWN_HEADER not in headers:
                return 403, "this was not asked by the page of the review"
            if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
                return 415, "only JSON is read"
            length = headers.get("content-length", "")
            is_short = length.isdecimal() and len(length) < 8 and int(length) <= MAX_BODY
            if not is_short or "transfer-encoding" in headers:
                return 413, "the request is too large, or does not tell its length"
        if is_page or path == "/api/login":
            return None
        if not any(self.access.is_cookie(text) for text in headers.getlist("cookie")):
            return 401, "open the address that medr1 review printed"
        return None
