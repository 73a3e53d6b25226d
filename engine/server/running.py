"""The service in uvicorn: started when it can answer, stopped when it has answered."""

from __future__ import annotations

import logging
import signal
import socket

import uvicorn

from engine.retriever import Retriever
from engine.server.app import make_app
from engine.server.settings import BACKLOG, Settings

SPARE_CONNECTIONS = 64
"""Connections beyond the queue of searches, for pictures and health checks; one more is answered 503."""


def serve(retriever: Retriever, settings: Settings, listening: socket.socket) -> None:
    """Answer requests until SIGTERM or SIGINT; then take no more, finish what was accepted, and return.

    Raises as `make_app`.
    """
    app = make_app(retriever, settings)
    config = uvicorn.Config(
        app,
        log_level="warning",
        backlog=BACKLOG,
        limit_concurrency=settings.limits.queue + SPARE_CONNECTIONS,
        timeout_graceful_shutdown=round(settings.limits.seconds) + 1,
        server_header=False,
    )
    logging.getLogger("engine.server").addHandler(logging.StreamHandler())
    # When it has stopped, uvicorn raises the signal again; to stop when told to is no failure.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    uvicorn.Server(config).run(sockets=[listening])
