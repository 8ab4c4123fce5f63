"""Redis servers of a test's own: to kill, to fill, to demote, and to speak TLS with."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from headrace.servers.addresses import LOOPBACK, free_ports
from headrace.servers.redis import SETTINGS, obstacle, program

DEADLINE_S = 60.0


class RedisServer:
    """One ``redis-server`` on a port of its own, with its data in ``folder``. Extra settings by name."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        (self.port,) = free_ports([0])
        self.folder = folder
        at_once = {"port": str(self.port), "repl-diskless-sync-delay": "0"}
        self.settings = dict(SETTINGS) | at_once | dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def host(self) -> str:
        """``host:port``."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def url(self) -> str:
        """The store URL that names this server alone."""
        return f"redis://{self.host}/0"

    def start(self) -> None:
        """Start it, and wait until it answers with its data loaded."""
        server = program()
        if server is None:
            _missing(str(obstacle()), "apt-get install redis-server")
        given = [part for name, value in self.settings.items() for part in (f"--{name}", value)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(server), "--bind", LOOPBACK, "--dir", str(self.folder), *given], stdout=log, stderr=log
            )
        until_s = time.monotonic() + DEADLINE_S
        while not self._answers():
            assert time.monotonic() < until_s, (self.folder / "log").read_text()
            if self._process.poll() is not None:
                said = (self.folder / "log").read_text()
                if "Failed finding TLS support" in said or "Bad directive" in said:
                    _missing(f"{server} was built without TLS", "apt-get install redis-server")
                pytest.fail(said)
            time.sleep(0.02)

    def _answers(self) -> bool:
        if self.settings["port"] == "0":
            return b"Ready to accept connections" in (self.folder / "log").read_bytes()
        try:
            with self.client() as client:
                return bool(client.info()["loading"] == 0)
        except redis.RedisError:
            return False

    def client(self) -> redis.Redis:
        """Return a client of its own, to do to the server what others do."""
        return redis.Redis(host=LOOPBACK, port=self.port, password=self.settings.get("requirepass"))

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it keep its connections and say nothing more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def follow(self, primary: RedisServer) -> None:
        """Make it a replica, and wait until it has what the primary has."""
        with self.client() as client:
            client.replicaof(LOOPBACK, str(primary.port))
            until_s = time.monotonic() + DEADLINE_S
            while client.info("replication").get("master_link_status") != "up":
                assert time.monotonic() < until_s
                time.sleep(0.02)

    def keep(self, place: Path) -> None:
        """Copy its data while it is dead."""
        shutil.copytree(self.folder, place)

    def restore(self, place: Path) -> None:
        """Put an older copy of the data in place."""
        shutil.rmtree(self.folder)
        shutil.copytree(place, self.folder)


@contextmanager
def running(*servers: RedisServer) -> Iterator[None]:
    """Run servers for as long as the block lasts."""
    try:
        for server in servers:
            server.start()
        yield
    finally:
        for server in servers:
            server.kill()


def certificate(folder: Path, *, expired: bool = False) -> dict[str, str]:
    """Make a certificate for the loopback address that is its own authority; return redis-server's settings for it."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "headrace-test")])
    now, day = datetime.now(UTC), timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 3 * day)
        .not_valid_after(now - day if expired else now + day)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(LOOPBACK))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(private)
    (folder / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    return {
        "tls-cert-file": str(folder / "cert.pem"),
        "tls-key-file": str(folder / "key.pem"),
        "tls-ca-cert-file": str(folder / "cert.pem"),
    }


def _missing(what: str, command: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"cannot start redis: {what}; {command}", pytrace=False)
    pytest.skip(f"cannot start redis: {what}; `{command}` mends it")
