"""Loopback ports, and whether somebody listens."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import ExitStack

LOOPBACK = "127.0.0.1"


def free_ports(preferred: Sequence[int]) -> list[int]:
    """Return distinct free loopback ports: each preferred one if it is free, any other where not (or where 0).

    Another process may take one before it is used; who starts a server proves that it is his own that answers.
    """
    with ExitStack() as held:
        ports = []
        for wanted in preferred:
            listener = held.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((LOOPBACK, wanted))
            except OSError:
                listener.bind((LOOPBACK, 0))
            ports.append(listener.getsockname()[1])
        return ports


def listening(host: str, port: int, timeout_s: float = 0.2) -> bool:
    """Return whether a connection is accepted within ``timeout_s``."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s):
            return True
    except OSError:
        return False
