"""Throughput and latency of the service on this machine's loopback, with and without batching.

    python -m benches.service_load --out benches/results/service-load.md

Clients send a drawing, wait for its answer, and send the next one. They run on the same cores as the service.
"""

import json
import re
import select
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Annotated

import torch
import typer

from benches.machine import device_name
from engine.retriever import Retriever
from mlrm.cli import errors_shown, run, say
from mlrm.features import Features

EXAMPLE = "Example: python -m benches.service_load --seconds 8 --out benches/results/service-load.md"
CLIENTS = (1, 8, 64)
BATCHES = {"batched, up to 16": "16", "each alone": "1"}
DRAWING = {
    "size": 400,
    "strokes": [
        {"points": [[60, 250], [70, 180], [140, 170], [220, 215], [330, 235], [340, 262], [60, 265]]},
        {"points": [[60, 250], [55, 290], [345, 290], [340, 262]]},
    ],
}


@dataclass(frozen=True)
class Load:
    """What some clients saw: seconds of each answer, and how many requests were answered otherwise than 200."""

    batching: str
    clients: int
    seconds: list[float]
    refused: int
    duration: float

    def row(self) -> list[str]:
        """A row of the table."""
        cuts = statistics.quantiles(self.seconds, n=100, method="inclusive")
        times = [f"{1000 * cuts[percent - 1]:.0f}" for percent in (50, 95, 99)]
        return [self.batching, str(self.clients), f"{len(self.seconds) / self.duration:.1f}", *times, str(self.refused)]


def fill(path: Path, photos: int) -> None:
    """A gallery of random features in the shipped model's shapes: search time doesn't depend on what they are."""
    retriever = Retriever(gallery=path)
    generator = torch.Generator().manual_seed(0)
    shapes = retriever.encoder.encode(torch.zeros((1, 3, 256, 256), dtype=torch.uint8), "photo")
    for start in range(0, photos, 512):
        count = min(512, photos - start)

        def rows(one: torch.Tensor, count: int = count) -> torch.Tensor:
            return torch.rand((count, *one.shape[1:]), generator=generator)

        levels = tuple(torch.nn.functional.normalize(rows(level), dim=-1) for level in shapes.levels)
        weights = [one / one.sum(-1, keepdim=True) for one in (rows(shapes.region_weights), rows(shapes.level_weights))]
        maps = None if shapes.maps is None else rows(shapes.maps)
        retriever.add_features(
            Features(levels, weights[0], weights[1], maps), fingerprint=retriever.encoder.fingerprint
        )


@contextmanager
def service(gallery: Path, batch: str) -> Iterator[int]:
    """A service, ready; its port."""
    command = [sys.executable, "-m", "engine", "serve", "--gallery", str(gallery), "--port", "0", "--batch", batch]
    with subprocess.Popen([*command, "--timeout", "60"], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            select.select([process.stderr], [], [], 120)
            found = re.search(r"127\.0\.0\.1:(\d+)", process.stderr.readline())
            assert found is not None, "the service did not start"
            connection = HTTPConnection("127.0.0.1", int(found[1]), timeout=120)
            connection.request("GET", "/ready")
            assert connection.getresponse().status == 200
            yield int(found[1])
        finally:
            process.terminate()


def load(port: int, batching: str, clients: int, seconds: float) -> Load:
    """Let clients ask for so many seconds."""
    body, answered, refused = json.dumps({"drawing": DRAWING, "top_k": 10}), list[float](), list[int]()
    end = time.perf_counter() + seconds

    def ask() -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=120)
        while (start := time.perf_counter()) < end:
            connection.request("POST", "/v1/search", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            response.read()
            if response.status == 200:
                answered.append(time.perf_counter() - start)
            else:
                refused.append(response.status)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Load(batching, clients, answered, len(refused), time.perf_counter() - started)


@errors_shown
def main(
    out: Annotated[Path, typer.Option(help="Write the table here.")],
    photos: Annotated[int, typer.Option(help="Photos in the gallery.", min=1)] = 2000,
    seconds: Annotated[float, typer.Option(help="Of each row.", min=0.1)] = 8.0,
) -> None:
    """Measure the service with 1, 8 and 64 clients, with and without batching."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder, "gallery"), photos)
        for batching, batch in BATCHES.items():
            with service(Path(folder, "gallery"), batch) as port:
                for clients in CLIENTS:
                    rows.append(load(port, batching, clients, seconds).row())
                    say(" | ".join(rows[-1]))
    out.write_text(_page(rows, photos, seconds))


def _page(rows: list[list[str]], photos: int, seconds: float) -> str:
    head = ["service", "clients", "answers a second", "p50 ms", "p95 ms", "p99 ms", "refused"]
    lines = [head, ["---"] * len(head), *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    setting = (
        f"{device_name(torch.device('cpu'))}; shipped model; {photos:,} photos; a drawing of two strokes, top_k = 10; "
        f"{seconds:g} s a row."
    )
    return (
        f"# The service under load\n\n{setting} Clients wait for an answer before they ask again, on the same cores as "
        "the service; most of an answer's time is the encoder's. `python -m benches.service_load` repeats it.\n\n"
        f"{table}\n"
    )


if __name__ == "__main__":
    run(main, EXAMPLE)
