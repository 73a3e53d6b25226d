"""Everything that was published of the weights is of the shipped ones, and the command that makes it keeps its word."""

import json
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
from PIL import Image
from typer import Typer
from typer.testing import CliRunner, Result

from benches.refresh import __main__ as command
from benches.refresh import results
from benches.refresh.registry import BY_HAND, NOT_OF_THE_WEIGHTS, ROOT, STEPS, Step
from benches.refresh.stage import Stage, missing
from benches.refresh.stamps import FINGERPRINT, shipped, stamp_picture, stamp_text, stored
from mlrm.errors import ConfigError
from mlrm.tables.accuracy import EVALUATION, OTHERS

OTHER = "0" * 64
KNOWN = [file for step in STEPS for file in step.files] + list(BY_HAND)
PUBLISHED = [file for file in KNOWN if (ROOT / file).is_file()]
ENCODERS = sorted((ROOT / "benches" / "results").glob("*-encoders.json"))
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


@pytest.mark.parametrize("file", PUBLISHED)
def test_what_is_published_is_of_the_shipped_weights(file: str) -> None:
    assert stored(ROOT / file) == {shipped()}, f"run python -m benches.refresh (--list says which step makes {file})"


def test_every_published_result_is_in_the_registry_or_named_as_independent() -> None:
    folders = [ROOT / "docs", ROOT / "benches" / "results"]
    found = {path.relative_to(ROOT).as_posix() for one in folders for path in one.rglob("*") if path.is_file()}
    unknown = {file for file in found if not any(fnmatch(file, pattern) for pattern in NOT_OF_THE_WEIGHTS)}
    assert unknown <= {*KNOWN}, "add these to benches/refresh/registry.py"
    unused = [pattern for pattern in NOT_OF_THE_WEIGHTS if not any(fnmatch(file, pattern) for file in found)]
    assert not unused


@pytest.mark.parametrize("text", BY_HAND)
def test_what_a_text_links_to_is_there(text: str) -> None:
    links = LINK.findall((ROOT / text).read_text(encoding="utf-8"))
    assert [link for link in links if not ((ROOT / text).parent / link).exists()] == []


@pytest.mark.parametrize("file", ENCODERS, ids=lambda file: file.name)
def test_times_of_encoders_say_of_which_weights_they_are(file: Path) -> None:
    """Of those that ship or shipped before: rankings stand beside the times, so a reader has to be told."""
    rows = [row for row in json.loads(file.read_text(encoding="utf-8"))["rows"] if row["trained"]]
    assert all(FINGERPRINT.fullmatch(row.get("fingerprint", "")) for row in rows)


def picture(file: Path) -> Path:
    Image.new("RGB", (8, 8), "white").save(file)
    return file


def test_fingerprints_are_found_where_each_kind_of_file_has_them(tmp_path: Path) -> None:
    named = {"model": OTHER, "b": [{"drawn like": "1" * 64}], "file": "206 files, sha256 " + "2" * 64}
    (tmp_path / "a.json").write_text(json.dumps(named | {"runs": ["3" * 64], "fingerprint": "4" * 64}))
    (tmp_path / "a.md").write_text("text\n")
    assert stored(tmp_path / "a.json") == {OTHER, "1" * 64}
    assert stored(tmp_path / "a.md") == stored(picture(tmp_path / "a.png")) == stored(tmp_path / "none.png") == set()
    stamp_text(tmp_path / "a.md", OTHER)
    stamp_picture(tmp_path / "a.png", OTHER)
    assert stored(tmp_path / "a.md") == stored(tmp_path / "a.png") == {OTHER}
    stamp_text(tmp_path / "a.md", "1" * 64)
    assert (tmp_path / "a.md").read_text() == f"text\n\n<!-- weights {'1' * 64} -->\n"


def test_a_stamped_picture_has_its_pixels_and_is_the_same_when_stamped_again(tmp_path: Path) -> None:
    file = picture(tmp_path / "a.png")
    before = Image.open(file).tobytes()
    stamp_picture(file, OTHER)
    once = file.read_bytes()
    stamp_picture(file, OTHER)
    assert file.read_bytes() == once
    assert Image.open(file).tobytes() == before


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two steps that write one number each into an empty repository; what they did."""
    done: list[str] = []

    def made(name: str, content: object) -> Step:
        def make(stage: Stage) -> None:
            done.append(name)
            stage.progress(name, 1, 1)
            (stage.out / f"{name}.json").write_text(json.dumps(content))

        return Step(name, (f"docs/{name}.json",), make, f"make {name}", ("data qmul_v1/shoes",) if name == "b" else ())

    steps = (made("a", {"weights": shipped()}), made("b", {"weights": shipped(), "acc1": 0.5}))
    monkeypatch.setattr(command, "STEPS", steps)
    monkeypatch.setattr(command, "BY_HAND", {})
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "make_tables", lambda root: done.append("tables"))
    (tmp_path / "data" / "qmul_v1" / "shoes").mkdir(parents=True)
    return done


def run(*options: object) -> Result:
    app = Typer()
    app.command()(command.main)
    result = CliRunner().invoke(app, [str(option) for option in options])
    assert result.exit_code == 0, result.output
    return result


def test_it_makes_what_is_stale_and_leaves_what_is_current(repository: list[str], tmp_path: Path) -> None:
    run("--data", tmp_path / "data")
    assert repository == ["a", "b", "tables"]
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "docs").iterdir()}
    run("--data", tmp_path / "data")
    assert repository[3:] == ["tables"]
    assert "b: as it was" in run("--data", tmp_path / "data", "--all").output
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "docs").iterdir()} == written
    (tmp_path / "docs" / "a.json").write_text(json.dumps({"weights": OTHER}))
    assert f"of {OTHER[:8]}  docs/a.json" in run("--list").output
    repository.clear()
    assert "a: docs/a.json" in run().output
    assert repository == ["a", "tables"]


def test_a_step_without_its_data_is_named_and_left(repository: list[str]) -> None:
    output = run().output
    assert "b: left, without data qmul_v1/shoes" in output
    assert repository == ["a", "tables"]


def test_results_of_other_weights_are_not_put_in_place(tmp_path: Path) -> None:
    def wrong(stage: Stage) -> None:
        (stage.out / "nothing.json").write_text(json.dumps({"weights": OTHER}))

    with pytest.raises(ConfigError, match="of other weights than the shipped"):
        command.make(Step("x", ("docs/nothing.json",), wrong, ""), None, lambda what, done, total: None)
    assert not (ROOT / "docs" / "nothing.json").exists()


@pytest.fixture
def evaluations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[object]]:
    """A repository with an evaluation of weights shipped before, and an `mlrm.evaluate` that finds a half of all."""
    asked = []

    def evaluate(stage: Stage, module: str, *arguments: object) -> None:
        asked.append([module, *arguments])
        names = [Path(str(one)).name for one, word in zip(arguments[1:], arguments, strict=False) if word == "--data"]
        times = {"feature_seconds": 1.5, "retrieval_seconds": 0.1}
        found = [{"data": name, "by_ink": []} | SHARES | times for name in names]
        Path(str(arguments[-1])).write_text(json.dumps({"model": shipped(), "results": found}))

    monkeypatch.setattr(Stage, "command", evaluate)
    monkeypatch.setattr(results, "ROOT", tmp_path)
    before = {"model": OTHER, "results": [{"data": "shoes", "sketches": 4} | SHARES]}
    runs = {name: before for name in ("test", "distractors", "validation", "validation_distractors")}
    (tmp_path / EVALUATION).parent.mkdir(parents=True)
    (tmp_path / EVALUATION).write_text(json.dumps(runs | {OTHERS: [FIRST]}))
    (tmp_path / "out").mkdir()
    return asked


SHARES = {"acc1": 0.5, "acc5": 0.5, "acc10": 0.5}
FIRST = {"name": "first", "fingerprint": "1" * 64, "test": [], "validation": []}


def test_accuracy_is_kept_without_times(tmp_path: Path, evaluations: list[list[object]]) -> None:
    results.accuracy(Stage(tmp_path / "out", Path("data"), lambda what, done, total: None))
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["evaluation.json"]
    found = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    both = [{"data": name, "by_ink": []} | SHARES for name in ("shoes", "chairs")]
    among = [{"data": "shoes among shoev2_photos"} | SHARES]
    assert {run: found[run]["results"] for run in found if run != OTHERS} == {
        "test": both,
        "distractors": among,
        "validation": both,
        "validation_distractors": among,
    }
    assert ["--distractors" in one for one in evaluations] == [False, True, False, True]
    assert ["--split" in one for one in evaluations] == [False, False, True, True]
    assert "shoes=data/qmul_v1_shoes_more_sketches" in evaluations[2]


def test_what_other_weights_reached_is_kept(tmp_path: Path, evaluations: list[list[object]]) -> None:
    stage = Stage(tmp_path / "out", Path("data"), lambda what, done, total: None)
    results.accuracy(stage)
    own = [{"data": "shoes"} | SHARES] * 2  # alone and among others
    others = [FIRST, {"name": "shipped before", "fingerprint": OTHER, "test": own, "validation": own}]
    once = (tmp_path / "out" / "evaluation.json").read_text()
    assert json.loads(once)[OTHERS] == others
    (tmp_path / EVALUATION).write_text(once)
    results.accuracy(stage)
    assert (tmp_path / "out" / "evaluation.json").read_text() == once


def test_first_lines_are_of_both_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def first_lines(stage: Stage, module: str, *arguments: object) -> None:
        split = "validation" if "--split" in arguments else "test"
        Path(str(arguments[-1])).write_text(json.dumps({"of": split}))

    monkeypatch.setattr(Stage, "command", first_lines)
    results.first_lines(Stage(tmp_path, Path("data"), lambda what, done, total: None))
    assert [file.name for file in tmp_path.iterdir()] == ["first-lines.json"]
    found = json.loads((tmp_path / "first-lines.json").read_text())
    assert found == {"validation": {"of": "validation"}, "test": {"of": "test"}}


def test_a_command_that_fails_says_what_it_said(tmp_path: Path) -> None:
    stage = Stage(tmp_path, None, lambda what, done, total: None)
    with pytest.raises(
        ConfigError, match=r"python -m mlrm\.evaluate failed with 1:\nConfigError: no data: give at least one"
    ):
        stage.command("mlrm.evaluate")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "shoev2_photos").mkdir()
    needs = ["data shoev2_photos", "package numpy", "package no_such_package", "program no-such-program"]
    assert missing(needs, tmp_path) == needs[2:]
    assert missing(needs, None) == [needs[0], *needs[2:]]


@pytest.mark.parametrize("there", [True, False])
def test_a_processor_that_lacks_what_a_step_measures_is_named(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    monkeypatch.setattr("benches.refresh.stage.computes_bfloat16", lambda device: there)
    assert missing(["processor bfloat16"], None) == ([] if there else ["processor bfloat16"])


def test_an_unknown_step_is_refused() -> None:
    app = Typer()
    app.command()(command.main)
    result = CliRunner().invoke(app, ["--only", "speed"])
    assert result.exit_code == 1
