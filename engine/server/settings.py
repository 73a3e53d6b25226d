"""What a service is started with: where it listens, who may call it, and how much it takes on."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engine.errors import ConfigError

TOKEN_VARIABLE = "MLRM_TOKEN"
SHORTEST_TOKEN = 16
BACKLOG = 256
"""Connections that the system accepts before the service does."""
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
"""What a Host header names when a browser on this machine calls a service on this machine."""


@dataclass(frozen=True)
class Limits:
    """What one request may be, and how many of them wait."""

    body_bytes: int = 10_000_000
    """Largest body; a larger one is answered 413."""
    pixels: int = 16_000_000
    """Largest picture, found by its header before a pixel is decoded, and all of an upload together; 422.

    One takes 48 MB, and a few times that while it is decoded."""
    top_k: int = 100
    """Most photos of one search; 422."""
    explained: int = 10
    """Most photos of one search with ``explain``; 422."""
    files: int = 32
    """Most photos of one upload; 422."""
    queue: int = 128
    """Searches that wait; one more is answered 429."""
    seconds: float = 10.0
    """Time for a body to arrive (408), and for a search from then to its answer (503)."""
    batch: int = 16
    """Most sketches that are searched together."""
    batch_wait: float = 0.004
    """Seconds that the first sketch of a batch waits for others."""


@dataclass(frozen=True)
class Settings:
    """Address, token and limits of one service; raises `ConfigError` for an address that may not be open."""

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = field(default=None, repr=False)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.token is not None and (
            len(self.token) < SHORTEST_TOKEN or not self.token.isascii() or not self.token.isprintable()
        ):
            raise ConfigError(
                f"the token has {len(self.token)} characters; expected at least {SHORTEST_TOKEN}, printable ASCII: "
                'make one with python -c "import secrets; print(secrets.token_urlsafe())"'
            )
        if self.token is None and not self.local:
            raise ConfigError(
                f"{self.host} can be reached from other machines, and there is no token; set {TOKEN_VARIABLE} or give "
                "--token-file, or keep --host 127.0.0.1"
            )

    @property
    def local(self) -> bool:
        """Whether nobody but this machine can reach the address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:  # a name, or an empty string, which is every address
            return False


def read_token(file: Path | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The token from a file, else from the environment, else None: never from the command line, which others can see.

    Raises `ConfigError` for a file that can't be read.
    """
    if file is None:
        return environment.get(TOKEN_VARIABLE)
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"can't read the token from {file}: {error}; give a text file that holds it") from error


def listen(settings: Settings) -> socket.socket:
    """The service's socket. It is taken before the model is loaded, so that a port in use is an error at once.

    Raises `ConfigError` for an address that can't be had.
    """
    try:
        listening = socket.create_server(
            (settings.host, settings.port),
            family=socket.AF_INET6 if ":" in settings.host else socket.AF_INET,
            backlog=BACKLOG,
        )
    except OSError as error:
        raise ConfigError(
            f"can't listen on {settings.host} port {settings.port}: {error.strerror or error}; give another --port, or "
            "--port 0 for any that is free"
        ) from error
    # For every connection. An answer's head and body are two packets; without this the second one waits until the first
    # is acknowledged, up to 40 ms. (asyncio sees to it for sockets that it makes itself.)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
