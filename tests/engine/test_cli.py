"""The commands of `python -m engine`, as typed."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from engine.cli import SKIPPED_SHOWN, app
from engine.retriever import Retriever
from tests.engine.conftest import COUNT
from tests.engine.test_exact import random_features

ROOT = Path(__file__).parents[2]
COMMANDS = (
    *("index", "sync", "search", "info", "doctor", "demo", "serve", "benchmark"),
    *("remove", "compact", "optimize", "snapshot", "restore", "verify"),
)


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner(env={"COLUMNS": "100", "NO_COLOR": "1"}).invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    if code == 0 and result.exception is not None:
        raise result.exception
    return result


def error_of(*arguments: object) -> str:
    """The message of a command that fails: one line on standard error, and nothing on standard output."""
    result = run(*arguments, code=1)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    [line] = result.stderr.splitlines()
    return line


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str) -> None:
    text = run(command, "--help").output
    assert f"Example: python -m engine {command}" in text


def test_all_that_was_skipped_can_be_had_as_a_file(checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    for number in range(SKIPPED_SHOWN + 2):
        (photos / f"bad-{number:02}.png").write_bytes(b"no image")
    listed = tmp_path / "skipped.txt"
    options = ("--gallery", tmp_path / "g", "--model", checkpoint, "--device", "cpu")
    run("index", photos, *options, "--skipped", listed)
    lines = listed.read_text().splitlines()
    assert [line.partition(": ")[0] for line in lines] == [str(path) for path in sorted(photos.glob("bad-*"))]
    error = error_of("index", photos, *options, "--skipped", tmp_path)
    assert "give another --skipped" in error


def test_help_lists_the_commands_and_where_to_start() -> None:
    text = run("--help").output
    assert all(re.search(rf"\b{command}\b", text) for command in COMMANDS)
    assert "python -m engine demo" in text


def test_from_photos_to_pictures(checkpoint: Path, photos: Path, sketches: list[Path], tmp_path: Path) -> None:
    """`index`, `search` in all its forms, and `info`."""
    gallery = tmp_path / "my.gallery"
    model = ("--model", checkpoint, "--device", "cpu")

    indexed = run("index", photos, "--gallery", gallery, *model)
    assert indexed.stdout == ""
    assert f"{COUNT} added, 0 there already, 0 skipped" in indexed.stderr
    assert f"next: python -m engine search SKETCH --gallery {gallery} --model {checkpoint} --out" in indexed.stderr
    assert f"0 added, {COUNT} there already" in run("index", photos, "--gallery", gallery, *model).stderr

    expected = Retriever(checkpoint, gallery, "cpu").search(sketches[0], top_k=3)
    table = run("search", sketches[0], "--gallery", gallery, "--top-k", 3, *model).stdout
    for match in expected:
        assert re.search(rf"{match.rank}\W+{match.distance:.6f}\W+{re.escape(match.id)}", table)

    result, why = tmp_path / "result.png", tmp_path / "why.png"
    found = run(
        "search", sketches[0], "--gallery", gallery, "--top-k", 3, "--json", "--out", result, "--explain", why, *model
    )
    assert json.loads(found.stdout) == {"matches": expected.to_list(), "report": expected.report.to_dict()}
    assert json.loads(found.stdout)["report"]["certified"] is True
    assert str(result) in found.stderr
    assert str(why) in found.stderr
    for picture in (result, why):
        with Image.open(picture) as image:
            image.load()

    info = run("info", "--gallery", gallery).stdout
    assert re.search(rf"photos\W+{COUNT}\b", info)
    assert "3 regions, 3 levels" in info
    assert checkpoint.name in info.replace("\n", "")
    assert "none; searches read all features" in info


def test_files_that_were_skipped_are_listed(checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    for number in range(SKIPPED_SHOWN + 2):
        (photos / f"broken-{number:02d}.png").write_bytes(b"no image")
    text = run("index", photos, "--gallery", tmp_path / "g", "--model", checkpoint).stderr
    assert f"{COUNT} added, 0 there already, {SKIPPED_SHOWN + 2} skipped" in text
    lines = [line for line in text.splitlines() if "skipped /" in line]
    assert len(lines) == SKIPPED_SHOWN
    assert f"{photos / 'broken-00.png'}: isn't an image" in lines[0]
    assert "... and 2 more" in text


def test_the_next_command_works_as_printed(
    checkpoint: Path, photos: Path, sketches: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the model it was indexed with, and with names that a shell would take apart."""
    model = Path(shutil.copy(checkpoint, tmp_path / "my model's.safetensors"))
    text = run("index", photos, "--gallery", tmp_path / "my gallery", "--model", model, "--device", "cpu").stderr
    [command] = re.findall(r"^next: python -m engine (.*)$", text, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    run(*(str(sketches[0]) if word == "SKETCH" else word for word in shlex.split(command)))
    assert (tmp_path / "result.png").is_file()


def test_files_that_were_left_out_are_told(checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "a.heic").touch()
    (photos / "more" / "b.heic").touch()
    text = run("index", photos, "--gallery", tmp_path / "g", "--model", checkpoint).stderr
    assert f"{COUNT} added, 0 there already, 0 skipped\n2 other files left out (.heic: 2)\n" in text


def test_nothing_indexed_suggests_no_search(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    text = run("index", tmp_path, "--gallery", tmp_path / "g", "--model", checkpoint).stderr
    assert "0 added, 0 there already, 1 skipped" in text
    assert "next:" not in text


def test_long_names_and_brackets_are_shown_as_they_are(checkpoint: Path, sketches: list[Path], tmp_path: Path) -> None:
    names = [f"{'long-' * 30}.png", "[bold]shoe[/bold].png", "[/].png"]
    Retriever(checkpoint, tmp_path / "g", "cpu").add(
        [Image.new("RGB", (32, 32), colour) for colour in ("red", "green", "blue")], ids=names
    )
    table = run("search", sketches[0], "--gallery", tmp_path / "g", "--model", checkpoint).stdout
    cells = "".join(line.split("│")[-2].strip() for line in table.splitlines() if line.count("│") == 4)
    assert all(name in cells for name in names)


def test_how_to_search_can_be_said(filled: Retriever, sketches: list[Path]) -> None:
    arguments = ("search", sketches[0], "--gallery", filled.path, "--model", filled.encoder.name)
    assert "has no short codes, and memory='codes' was asked for" in error_of(*arguments, "--memory", "codes")
    assert "expected one of auto, codes, features" in error_of(*arguments, "--memory", "disk")
    assert "max_candidates is 0" in error_of(*arguments, "--max-candidates", 0)
    found = run(*arguments, "--memory", "features", "--max-candidates", 2, "--json")
    assert json.loads(found.stdout)["report"]["read"] == "features"


def test_an_empty_gallery_is_no_error(filled: Retriever, sketches: list[Path], tmp_path: Path) -> None:
    filled.remove(list(filled.gallery.snapshot().ids))
    arguments = ("search", sketches[0], "--gallery", filled.path, "--model", filled.encoder.name, "--json")
    found = run(*arguments, "--out", tmp_path / "r.png", "--explain", tmp_path / "why.png")
    assert json.loads(found.stdout)["matches"] == []
    assert (tmp_path / "r.png").is_file()
    assert "no explanation written" in found.stderr
    assert not (tmp_path / "why.png").exists()


def test_info_of_features_computed_elsewhere(empty: Retriever) -> None:
    empty.add_features(random_features(3, 0), region_weight_power=2)
    empty.remove("1")
    text = run("info", "--gallery", empty.path).stdout
    assert re.search(r"photos\W+2\b", text)
    assert re.search(r"rows of removed photos\W+1\b", text)
    assert re.search(r"power of region weights\W+2\b", text)
    assert "features computed elsewhere" in text


# -- errors: one message, exit code 1, no traceback


def test_searching_makes_no_gallery(checkpoint: Path, sketches: list[Path], tmp_path: Path) -> None:
    message = error_of("search", sketches[0], "--gallery", tmp_path / "mistyped", "--model", checkpoint)
    assert message.startswith(f"NotAGalleryError: no gallery at {tmp_path / 'mistyped'}: make one with")
    assert not (tmp_path / "mistyped").exists()
    assert error_of("info", "--gallery", tmp_path / "mistyped") == message


@pytest.mark.parametrize("options", [["--top-k", 0], ["--device", "gpu"], ["--model", "nowhere.pt"]], ids=str)
def test_wrong_options_of_search(filled: Retriever, sketches: list[Path], options: list[object]) -> None:
    model = [] if "--model" in options else ["--model", filled.encoder.name]
    message = error_of("search", sketches[0], "--gallery", filled.path, *model, *options)
    assert re.match(r"(QueryError|ConfigError|CheckpointError): .*expected", message)


def test_a_sketch_that_is_none(filled: Retriever, tmp_path: Path) -> None:
    arguments = ("--gallery", filled.path, "--model", filled.encoder.name)
    assert "nowhere.png: doesn't exist; check the path" in error_of("search", tmp_path / "nowhere.png", *arguments)
    (tmp_path / "empty.png").touch()
    assert "is empty (0 bytes)" in error_of("search", tmp_path / "empty.png", *arguments)


@pytest.mark.parametrize("option", ["--out", "--explain"])
def test_a_picture_that_cannot_be_written(filled: Retriever, sketches: list[Path], tmp_path: Path, option: str) -> None:
    result = run(
        "search", sketches[0], "--gallery", filled.path, "--model", filled.encoder.name, "--json",
        option, tmp_path / "nowhere" / "r.png", code=1,
    )  # fmt: skip
    assert len(json.loads(result.stdout)["matches"]) == COUNT, "what was found is printed all the same"
    assert result.stderr.startswith("EngineError: can't write the picture")
    assert len(result.stderr.splitlines()) == 1


def test_photos_that_are_not_there(checkpoint: Path, tmp_path: Path) -> None:
    arguments = ("--gallery", tmp_path / "g", "--model", checkpoint)
    assert "nowhere: doesn't exist; check the path" in error_of("index", tmp_path / "nowhere", *arguments)
    (tmp_path / "folder").mkdir()
    assert error_of("index", tmp_path / "folder", *arguments).startswith("NoImagesError: no images in")
    assert not (tmp_path / "g").exists()


def test_a_message_may_hold_brackets(checkpoint: Path, tmp_path: Path) -> None:
    """In a terminal's markup, [/b] would close a tag that nobody opened."""
    message = error_of("index", tmp_path / "[/b].png", "--gallery", tmp_path / "g", "--model", checkpoint)
    assert "[/b].png: doesn't exist" in message


def test_a_gallery_of_the_wrong_model_says_what_to_do(filled: Retriever, sketches: list[Path]) -> None:
    """The shipped model is the default, and this gallery is of another."""
    message = error_of("search", sketches[0], "--gallery", filled.path, "--device", "cpu")
    assert message.startswith("ModelMismatchError")
    assert f"`--model {filled.encoder.name}`" in message
    assert f"`python -m engine index PHOTOS --gallery {filled.path}.new`" in message


def test_it_runs_as_a_module(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "engine", "info", "--gallery", str(tmp_path / "nowhere")],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("NotAGalleryError: no gallery at")
    assert "Traceback" not in done.stderr


def test_metadata_filters_and_replacement_from_the_command_line(
    checkpoint: Path, photos: Path, sketches: list[Path], tmp_path: Path
) -> None:
    gallery, file, model = tmp_path / "g", tmp_path / "m.csv", ("--model", checkpoint, "--device", "cpu")
    file.write_text("id,category,price\nphoto-0.png,shoe,10\nphoto-2.png,shoe,30\nphoto-4.png,bag,20\ngone.png,bag,1\n")
    text = run("index", photos, "--gallery", gallery, "--metadata", file, "--index-key", "category", *model).stderr
    assert "rows of the metadata file that name none of these photos: 1" in text
    assert re.search(r"indexed metadata keys\W+category", run("info", "--gallery", gallery).stdout)

    def found(where: str) -> list[str]:
        output = run("search", sketches[0], "--gallery", gallery, "--json", "--where", where, *model).stdout
        return sorted(match["id"] for match in json.loads(output)["matches"])

    assert found('{"category": "shoe"}') == ["photo-0.png", "photo-2.png"]
    assert found('{"category": "shoe", "price": {"lt": 20}}') == ["photo-0.png"]
    assert found('{"price": {"exists": false}}') == ["more/photo-1.png", "more/photo-3.png", "more/photo-5.png"]
    file.write_text("id,category\nphoto-0.png,bag\n")
    run("index", photos, "--gallery", gallery, "--metadata", file, "--replace", *model)
    assert found('{"category": "bag"}') == ["photo-0.png", "photo-4.png"]
    message = error_of("search", sketches[0], "--gallery", gallery, "--where", "category=bag", *model)
    assert "FilterError: where is 'category=bag', which is no JSON" in message


def test_upkeep_from_the_command_line(filled: Retriever, tmp_path: Path) -> None:
    gallery, copy = filled.path, tmp_path / "copy"
    assert f"{copy}: {COUNT} photos" in run("snapshot", copy, "--gallery", gallery).stderr
    assert "does not hold 'photo-9.png'; nothing was removed" in error_of(
        "remove", "photo-0.png", "photo-9.png", "--gallery", gallery
    )
    assert f"{gallery}: {COUNT - 1} photos" in run("remove", "photo-0.png", "--gallery", gallery).stderr
    assert (
        "segments: 1 before, 1 after; rows of removed photos dropped: 1;" in run("compact", "--gallery", gallery).stderr
    )
    assert "segments as they were written: 1, damaged: 0" in run("verify", "--gallery", gallery).stderr
    [segment] = (gallery / "segments").iterdir()
    segment.write_bytes(segment.read_bytes()[:-1])
    text = run("verify", "--gallery", gallery, code=1).stderr
    assert f"segments as they were written: 0, damaged: 1\n{segment}: it has" in text
    assert f"{gallery}: {COUNT} photos" in run("restore", copy, "--gallery", gallery).stderr
    assert "damaged: 0" in run("verify", "--gallery", gallery).stderr
    assert len(filled) == COUNT
