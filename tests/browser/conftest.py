"""A service of drawn photos in a process of its own, and pages of it in the system's Chromium."""

import json
import os
import re
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

from engine.retriever import Retriever
from mlrm.procedural import write_pairs

PHOTOS = 42
GROUPS = {"sneaker": "shoes", "boot": "shoes", "heel": "shoes", "chair": "chairs", "stool": "chairs"}
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
ENOUGH = 60_000  # milliseconds for what is waited for


@dataclass
class Service:
    """A running service: its address, and the folder its photos and sketches are in."""

    url: str
    folder: Path


@dataclass
class Shots:
    """Screenshots, which are kept."""

    folder: Path

    def take(self, page: Page, name: str, *, whole: bool = False) -> None:
        """Keep what a page shows."""
        page.wait_for_timeout(400)  # until what moves stands still
        page.screenshot(path=self.folder / f"{name}.png", full_page=whole)


@dataclass
class Visit:
    """A page, what it asked for, and what it complained of."""

    page: Page
    requests: list[Request] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="package")
def drawn_gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with drawn `photos`, `sketches` of them, and a `gallery` by the shipped model, with metadata."""
    folder = tmp_path_factory.mktemp("drawn")
    write_pairs(folder, PHOTOS, seed=5)
    metadata = {}
    for number, photo in enumerate(sorted((folder / "photos").iterdir())):
        category = photo.name.rsplit("-", 1)[0]
        metadata[photo.name] = {
            "category": category,
            "group": GROUPS.get(category, "home"),
            "price": 15 + 37 * number % 220,
            "tags": [["new", "sale"], ["wood"], ["leather", "new"]][number % 3],
        }
    Retriever(gallery=folder / "gallery").add(folder / "photos", metadata=metadata)
    return folder


@pytest.fixture(scope="package")
def service(drawn_gallery: Path) -> Iterator[Service]:
    """A service of the drawn gallery."""
    command = [sys.executable, "-m", "engine", "serve", "--gallery", str(drawn_gallery / "gallery"), "--port", "0"]
    with subprocess.Popen([*command, "--timeout", "60"], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert select.select([process.stderr], [], [], 120)[0], "the service said nothing"
            line = process.stderr.readline()
            found = re.search(r"http://127\.0\.0\.1:\d+", line)
            assert found is not None, line
            with urlopen(f"{found[0]}/ready", timeout=120) as response:  # the socket waits until it answers
                assert response.status == 200
            yield Service(found[0], drawn_gallery)
        finally:
            process.kill()


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if program is None:
        pytest.fail(
            "these tests need Chromium: `apt-get install chromium`, or name another one in CHROMIUM; "
            "`pytest -m 'not browser'` leaves them out"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def shots(pytestconfig: pytest.Config) -> Shots:
    """Where screenshots go."""
    folder = Path(pytestconfig.getoption("--screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return Shots(folder)


@pytest.fixture
def visit(browser: Browser, service: Service, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """The page, open; at a phone's width with touch where the test is marked so by `parametrize(..., indirect)`."""
    phone = getattr(request, "param", "desktop") == "phone"
    context = browser.new_context(
        viewport=PHONE if phone else DESKTOP,  # type: ignore[arg-type]
        has_touch=phone,
        device_scale_factor=2 if phone else 1,
        permissions=["clipboard-read", "clipboard-write"],
    )
    context.set_default_timeout(ENOUGH)
    visit = Visit(context.new_page())
    visit.page.on("request", lambda request: visit.requests.append(request))
    visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
    visit.page.goto(service.url)
    visit.page.locator("#about:not(:empty)").wait_for()
    yield visit
    context.close()
    assert visit.complaints == []
    assert {one.url.split("/")[2] for one in visit.requests if one.url.startswith("http")} == {
        service.url.split("/")[2]
    }


def draw(page: Page, *points: tuple[float, float]) -> None:
    """One line by the mouse, in parts of the canvas's side."""
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=6)
    page.mouse.up()


def draw_shoe(page: Page) -> None:
    """A few lines that look like a shoe."""
    draw(page, (0.12, 0.66), (0.14, 0.44), (0.3, 0.42), (0.42, 0.36), (0.6, 0.54), (0.86, 0.6), (0.88, 0.67))
    draw(page, (0.1, 0.66), (0.9, 0.68), (0.9, 0.74), (0.1, 0.73), (0.1, 0.66))


def found(page: Page) -> list[tuple[str, str]]:
    """Names and distances of the photos shown, once the last search is answered."""
    page.locator("#status:not(.busy)").wait_for()
    names, distances = (page.locator(f".results {part}").all_inner_texts() for part in (".name", ".distance"))
    return list(zip(names, distances, strict=True))


def searches(visit: Visit) -> list[dict[str, object]]:
    """The bodies of all searches by drawings."""
    sent = [one for one in visit.requests if one.url.endswith("/v1/search")]
    return [json.loads(one.post_data or "{}") for one in sent]
