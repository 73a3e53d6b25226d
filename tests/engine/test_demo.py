"""The demo: from nothing to pictures, with the model that is shipped."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from engine import demo, ingest
from engine.cli import app
from engine.demo import DemoReport, run_demo
from engine.errors import ConfigError
from engine.retriever import Retriever

PHOTOS, SKETCHES = 12, 5


class Steps(list[tuple[str, int, int]]):
    """The progress told, which may be interrupted at one of its steps."""

    def __init__(self, *, interrupt: tuple[str, int] | None = None) -> None:
        super().__init__()
        self.interrupt = interrupt

    def __call__(self, what: str, done: int, total: int) -> None:
        self.append((what, done, total))
        if self.interrupt == (what, done):
            raise KeyboardInterrupt


def run(folder: Path, steps: Steps, photos: int = PHOTOS) -> DemoReport:
    return run_demo(folder, photos, SKETCHES, seed=1, device="cpu", progress=steps)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DemoReport, Steps]:
    folder, steps = tmp_path_factory.mktemp("demo"), Steps()
    return folder, run(folder, steps), steps


@pytest.fixture
def report(finished: tuple[Path, DemoReport, Steps]) -> DemoReport:
    return finished[1]


def test_it_draws_indexes_and_searches(finished: tuple[Path, DemoReport, Steps]) -> None:
    _, report, steps = finished
    assert steps == [
        *[("draw photos and sketches", n, PHOTOS) for n in range(1, PHOTOS + 1)],
        *[("index", n, PHOTOS) for n in range(1, PHOTOS + 1)],
        ("search", SKETCHES, SKETCHES),
    ]
    assert len(Retriever(gallery=report.gallery)) == PHOTOS == report.added
    assert (report.accuracy.photos, report.accuracy.sketches) == (PHOTOS, SKETCHES)


def test_the_shipped_model_is_at_home_here(report: DemoReport) -> None:
    """Chance would be 0.08."""
    assert 0.4 < report.accuracy.acc1 <= report.accuracy.acc10 <= 1


def test_its_pictures_open(report: DemoReport) -> None:
    for path in (report.picture, report.explanation):
        with Image.open(path) as picture:
            picture.load()
            assert min(picture.size) > 300


def test_what_it_says_is_there(report: DemoReport) -> None:
    text = report.text()
    assert f"{PHOTOS} photos, {PHOTOS} of them indexed now" in text
    assert f"{SKETCHES} sketches searched" in text
    assert str(report.picture) in text
    assert str(report.explanation) in text


def test_the_next_command_works_as_printed(report: DemoReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [command] = re.findall(r"^next: python -m engine (.*)$", report.text(), re.MULTILINE)
    result = CliRunner().invoke(app, shlex.split(command))
    assert result.exit_code == 0, result.output
    assert (tmp_path / "result.png").is_file()


def test_run_again_it_draws_and_indexes_nothing(
    finished: tuple[Path, DemoReport, Steps], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, first, _ = finished
    monkeypatch.setattr(demo, "write_pairs", lambda *arguments, **options: pytest.fail("it draws again"))
    steps = Steps()
    second = run(folder, steps)
    assert steps == [("search", SKETCHES, SKETCHES)]
    assert second.added == 0
    assert second.accuracy == first.accuracy


@pytest.mark.parametrize("at", [("draw photos and sketches", 5), ("index", 8)], ids=["drawing", "indexing"])
def test_interrupted_it_goes_on(
    finished: tuple[Path, DemoReport, Steps], tmp_path: Path, at: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the same files as without the interruption."""
    monkeypatch.setattr(ingest, "SEGMENT_PHOTOS", 4)
    _, whole, _ = finished
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Steps(interrupt=at))
    report = run(tmp_path, Steps())
    assert report.added == (PHOTOS if at[0] != "index" else PHOTOS - 8)
    assert report.accuracy == whole.accuracy
    for kind in ("photos", "sketches"):
        files = sorted((whole.folder / kind).iterdir())
        assert len(files) == PHOTOS
        assert sorted(path.name for path in (report.folder / kind).iterdir()) == [path.name for path in files]
        assert all((report.folder / kind / path.name).read_bytes() == path.read_bytes() for path in files)


def test_other_numbers_of_photos_have_folders_of_their_own(report: DemoReport, tmp_path: Path) -> None:
    small = run(tmp_path, Steps(), photos=2)
    assert small.folder.name != report.folder.name
    assert small.accuracy.sketches == 2, "there are no more to search by"


def test_a_gallery_of_other_photos_says_what_to_do(report: DemoReport, tmp_path: Path) -> None:
    folder = tmp_path / report.folder.name
    shutil.copytree(report.folder, folder)
    Image.new("RGB", (32, 32)).save(folder / "photos" / "another.png")
    with pytest.raises(
        ConfigError, match=rf"holds 13 photos, expected 12; remove .*{report.folder.name} and run again"
    ):
        run(tmp_path, Steps())


def test_the_command_runs_it(report: DemoReport) -> None:
    arguments = ["demo", "--out", str(report.folder.parent), "--photos", str(PHOTOS), "--sketches", str(SKETCHES)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "own photo first: acc@1" in result.stderr
