"""Who may talk to a page that this machine serves: the person in front of it, and nobody through their browser.

On loopback no password is needed, but any web page that the browser shows may send requests there. So the Host has to be a loopback name
(a foreign name that resolves to 127.0.0.1 is none), and whatever writes has to come from the page itself: same Origin, JSON, and the form
key that the page was given. Beyond loopback everything needs the token of the printed address, which becomes a cookie at first use.
"""

import ipaddress
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

COOKIE = "skyreels_token"
FORM_KEY = "x-form-key"
_MOST_BODY = 64 << 10  # bytes
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}  # fmt: skip


@dataclass(frozen=True)
class Guard:
    """The rules of one served page."""

    host: str
    port: int
    token: str = ""
    """Needed beyond loopback; may also be asked for on it."""
    form_key: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    def __post_init__(self) -> None:
        if not self.token and not is_loopback(self.host):
            raise ValueError(f"{self.host} can be reached from elsewhere; a token is needed")

    @property
    def address(self) -> str:
        """What a person opens."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{shown}:{self.port}/" + (f"?token={self.token}" if self.token else "")

    def refusal(self, request: Request) -> Response | None:
        """Why a request is not served; None if it is. Also the answer to a first visit with a token."""
        host = request.headers.get("host", "")
        if not self.token and host not in {f"{name}:{self.port}" for name in ("127.0.0.1", "localhost", "[::1]")}:
            return refuse(403, f"Host is {host!r}: open {self.address}")
        if self.token and not _equal(request.cookies.get(COOKIE, ""), self.token):
            if request.method != "GET" or not _equal(request.query_params.get("token", ""), self.token):
                return refuse(403, "this page needs the token of the address that was printed when it was started")
            found = RedirectResponse(request.url.path, status_code=303)
            found.set_cookie(COOKIE, self.token, httponly=True, samesite="strict")
            return found
        return None if request.method in ("GET", "HEAD") else self._write_refusal(request, host)

    def _write_refusal(self, request: Request, host: str) -> Response | None:
        origin = request.headers.get("origin")
        if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
            return refuse(403, f"Origin is {origin!r}: only the page itself may write")
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return refuse(415, "send application/json")
        if not _equal(request.headers.get(FORM_KEY, ""), self.form_key):
            return refuse(403, "the page is from an earlier start of this server: load it again")
        size = request.headers.get("content-length", "")
        return None if size.isdecimal() and int(size) <= _MOST_BODY else refuse(413, f"send a Content-Length of at most {_MOST_BODY}")


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refuse(status: int, reason: str) -> Response:
    """An error with its reason."""
    return JSONResponse({"error": reason}, status_code=status)


def _equal(given: str, wanted: str) -> bool:
    return secrets.compare_digest(given.encode(), wanted.encode())
