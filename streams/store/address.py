"""Where the online store is, and as whom it is spoken to: one URL says all of it.

::

    redis://cache:6379/0                                      one server, or one name that follows the primary
    redis://a:6379,b:6379,c:6379/0                            candidates: whoever says that it is the primary
    rediss://headrace:secret@a:6380,b:6380/0?ca=/etc/ca.pem   TLS, as a user of its own
    unix:///run/redis.sock?db=1                               a socket on this machine

Managed Redis gives one name that moves with the primary: that is the first form. Where Sentinel or an operator
promotes, name every data server: the client asks each for its role and takes the primary. It does not ask the
Sentinels: two servers may both believe they are primary for a while either way, and what is written to the wrong one is
noticed by its chain and written again.

Query names: ``ca`` (file with the authorities that are trusted; the system's by default), ``cert`` and ``key`` (files
with the client's own), ``db``. The server's certificate and its name are always verified. User and password are
percent-encoded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from streams.errors import StoreError

DEFAULT_PORT = 6379

_SCHEMES = ("redis", "rediss", "unix")
_QUERY = ("ca", "cert", "key", "db")


@dataclass(frozen=True, slots=True)
class Address:
    """A store URL, read. Shows no secret."""

    servers: tuple[tuple[str, int], ...]
    """Candidates for the primary as (host, port); a single (path, 0) for a socket."""
    db: int = 0
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    files: tuple[tuple[str, str], ...] = ()
    """What TLS reads: (``ca``, ``cert`` or ``key``, path)."""

    def __str__(self) -> str:
        """Return the servers, as errors and people name them."""
        return ",".join(map(shown, self.servers))


def shown(server: tuple[str, int]) -> str:
    """Return one server as people name it."""
    host, port = server
    return f"{host}:{port}" if port else host


def safe(url: str) -> str:
    """Return the URL without what may be secret in it, for logs and for people; of any text at all."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}" if separator else "a text that is no URL"


def read_address(url: str) -> Address:
    """Return what a URL says.

    Raises:
        StoreError: it cannot be used; the message shows no secret.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _unusable(url, "expected redis://host:port/0, got something that is no URL") from None
    if parts.scheme not in _SCHEMES:
        raise _unusable(url, "expected redis://host:port/0, rediss://… or unix://…")
    userinfo, _, hosts = parts.netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    query = _query(url, parts)
    path = unquote(parts.path)
    is_socket = parts.scheme == "unix"
    return Address(
        servers=((path, 0),) if is_socket else tuple(_server(url, each) for each in hosts.split(",")),
        db=_db(url, query.pop("db", "" if is_socket else path.strip("/"))),
        user=unquote(user) or None,
        password=unquote(password) or None,
        tls=parts.scheme == "rediss",
        files=tuple(sorted(query.items())),
    )


def _query(url: str, parts: SplitResult) -> dict[str, str]:
    found = dict(parse_qsl(parts.query))
    for name in found:
        if name not in _QUERY:
            raise _unusable(url, f"expected {', '.join(_QUERY)} behind the ?, got another name")
    files = {name: path for name, path in found.items() if name != "db"}
    if files and parts.scheme != "rediss":
        raise _unusable(url, f"expected rediss:// with {' and '.join(files)}, got {parts.scheme}://")
    for name, path in files.items():
        if not Path(path).is_file():
            raise _unusable(url, f"expected a file as {name}, got {path}")
    return found


def _server(url: str, text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(DEFAULT_PORT)
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise _unusable(url, "expected hosts as host:port, divided by commas")
    return host.strip("[]"), int(port)


def _db(url: str, text: str) -> int:
    if not text:
        return 0
    if not text.isdecimal():
        raise _unusable(url, "expected the database as a number")
    return int(text)


def _unusable(url: str, what: str) -> StoreError:
    return StoreError(f"cannot use the online store: {safe(url)}: {what}; mend HEADRACE_REDIS")
