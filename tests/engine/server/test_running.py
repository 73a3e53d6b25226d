"""A service in a process of its own: how it starts, refuses to start, and stops."""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.engine.server.conftest import DRAWING

ENOUGH = 120.0  # seconds for what is waited for


def start(checkpoint: Path, gallery: Path, *options: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "engine", "serve", "--model", str(checkpoint), "--gallery", str(gallery)]
    return subprocess.Popen(
        [*command, "--device", "cpu", *options],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


@contextmanager
def running(checkpoint: Path, gallery: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A service and its port, once it answers."""
    process = start(checkpoint, gallery, "--port", "0", *options)
    try:
        assert process.stderr is not None
        assert select.select([process.stderr], [], [], ENOUGH)[0], "the service said nothing"
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line := process.stderr.readline())
        assert found is not None, line
        port = int(found[1])
        end = time.monotonic() + ENOUGH
        while status(port, "/ready") != 200:
            assert time.monotonic() < end, "the service never got ready"
            time.sleep(0.05)
        yield process, port
    finally:
        process.kill()
        process.communicate()


def status(port: int, path: str) -> int | None:
    connection = HTTPConnection("127.0.0.1", port, timeout=ENOUGH)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def test_stopped_it_answers_what_it_accepted_and_takes_no_more(checkpoint: Path, described: Path) -> None:
    # Every sketch waits two seconds for others: the signal comes while these wait.
    with running(checkpoint, described, "--batch-wait", "2000") as (process, port):
        connections = [HTTPConnection("127.0.0.1", port, timeout=ENOUGH) for _ in range(3)]
        for connection in connections:
            body = json.dumps({"drawing": DRAWING, "top_k": 2})
            connection.request("POST", "/v1/search", body, {"Content-Type": "application/json"})
        end = time.monotonic() + ENOUGH
        while "mlrm_searches_waiting 3.0" not in metrics(port):
            assert time.monotonic() < end, "the searches never arrived"
        process.send_signal(signal.SIGTERM)
        for connection in connections:
            answer = connection.getresponse()
            assert answer.status == 200
            assert len(json.loads(answer.read())["matches"]) == 2
            connection.close()
        assert process.wait(ENOUGH) == 0
        assert status(port, "/health") is None


def metrics(port: int) -> str:
    connection = HTTPConnection("127.0.0.1", port, timeout=ENOUGH)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def refusal(process: subprocess.Popen[str]) -> str:
    _, text = process.communicate(timeout=ENOUGH)
    assert process.returncode == 1, text
    assert "Traceback" not in text
    return " ".join(text.split())


def test_another_address_without_a_token_is_refused(checkpoint: Path, described: Path) -> None:
    text = refusal(start(checkpoint, described, "--host", "0.0.0.0", MLRM_TOKEN="short"))
    assert "the token has 5 characters" in text
    environment = {name: value for name, value in os.environ.items() if name != "MLRM_TOKEN"}
    command = [sys.executable, "-m", "engine", "serve", "--gallery", str(described), "--host", "0.0.0.0"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=ENOUGH, check=False)
    assert result.returncode == 1
    assert "there is no token" in " ".join(result.stderr.split())


def test_a_port_in_use_is_refused(checkpoint: Path, described: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        text = refusal(start(checkpoint, described, "--port", str(taken.getsockname()[1])))
    assert "can't listen on 127.0.0.1" in text


def test_a_mistyped_gallery_is_refused_and_not_made(checkpoint: Path, tmp_path: Path) -> None:
    text = refusal(start(checkpoint, tmp_path / "none", "--port", "0"))
    assert "no gallery at" in text
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("option", ["--batch", "--queue", "--timeout"])
def test_limits_of_nothing_are_refused(checkpoint: Path, described: Path, option: str) -> None:
    process = start(checkpoint, described, option, "0")
    process.communicate(timeout=ENOUGH)
    assert process.returncode == 2
