"""The encoders' part of a run: read, judged, written, read back."""

import json
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from benches.encoder_page import encoder_page, goals_reached
from benches.encoder_rows import EncoderRun, read_encoder_run
from benches.encoders import OPEN
from benches.encodings import PARTS, SWEPT_WAYS, WAYS, Encoding, Part, encodings, parts
from benches.report import write_encoders
from benches.rows import read_run
from mlrm.errors import ConfigError
from tests.benches.runs import MACHINE, recorded, write

SECONDS = {
    ("densenet169", 2, "torch"): 0.120,
    ("densenet169", 2, "openvino-bf16"): 0.024,
    ("densenet169", 2, "openvino-int8"): 0.010,
    ("densenet169", 1, "torch"): 0.200,
    ("lite0", 2, "torch"): 0.040,
    ("lite0", 2, "onnx-fp32"): 0.016,
}
TOP10 = {"openvino-bf16": 0.985, "openvino-int8": 0.9}


def measured() -> dict[str, Any]:
    """The JSON of a run with these medians, the parts of one search, and a row without a time."""
    found = recorded()

    def one(seconds: float, info: dict[str, Any]) -> dict[str, Any]:
        return {"stats": {"median": seconds, "iqr": seconds / 100, "rounds": 9}, "extra_info": info}

    for (trunk, threads, way), seconds in SECONDS.items():
        agreement = {"trained": trunk == "lite0", "rms": 0.01, "top1": 1.0, "top10": TOP10.get(way, 1.0)}
        found["benchmarks"].append(one(seconds, asdict(Encoding(trunk, 1, threads, way)) | agreement))
    for number, part in enumerate(PARTS, 1):
        found["benchmarks"].append(one(number / 1000, asdict(Part("lite0", "torch", 10_000, part))))
    absent = asdict(Encoding("lite0", 8, 2, "openvino-fp32")) | {"reason": "not installed"}
    return found | {"encoders_not_measured": [absent]}


@pytest.fixture
def run(tmp_path: Path) -> EncoderRun:
    return read_encoder_run(write(tmp_path / "run.json", measured()))


def test_searches_and_encoders_of_one_run_are_kept_apart(tmp_path: Path, run: EncoderRun) -> None:
    searches = read_run(tmp_path / "run.json")
    assert len(searches.rows) == len(recorded()["benchmarks"])
    assert (len(run.rows), len(run.parts)) == (len(SECONDS), len(PARTS))


def test_results_read_back_as_the_run_they_were_written_from(run: EncoderRun, tmp_path: Path) -> None:
    data, text = write_encoders(run, tmp_path / "results")
    assert [file.name for file in (data, text)] == [
        f"some-cpu-2-threads-encoders.{ending}" for ending in ("json", "md")
    ]
    assert read_encoder_run(data) == run
    assert read_run(data).rows == ()


def test_only_encoders_that_rank_right_reach_a_goal_and_on_all_cores(run: EncoderRun) -> None:
    dense, light = goals_reached(run)
    assert dense.row.encoding == Encoding("densenet169", 1, 2, "openvino-bf16")
    assert dense.reached == pytest.approx(5)
    assert dense.met
    assert light.row.encoding.encoder == "onnx-fp32"
    assert light.reached == pytest.approx(16)
    assert not light.met
    assert "| 5.00x |" in encoder_page(run)
    assert "| 16.0 ms |" in encoder_page(run)


def test_goals_of_another_device_say_nothing(run: EncoderRun) -> None:
    gpu = replace(run, machine=replace(run.machine, device_type="cuda"))
    assert [one.goal.factor for one in goals_reached(gpu)] == [5.0, 5.0]
    assert "Not yet measured" in encoder_page(replace(run, rows=()))


def test_the_page_tells_rates_factors_parts_and_what_has_no_time(run: EncoderRun) -> None:
    text = encoder_page(run)
    assert "| 2 | 1 | openvino-bf16 | 24.0 ms | 0.2 ms | 41.7 | 5.00 | 1.0e-02 | 1.000 | 0.985 |" in text
    assert "| lite0 | 10,000 | torch | 1.00 ms | 2.00 ms | 3.00 ms | 4.00 ms |" in text
    assert "| lite0-B8-T2-openvino-fp32 | not installed |" in text
    for before, line in pairwise(text.splitlines()):
        if before.startswith("|") and line.startswith("|"):
            assert before.count("|") == line.count("|")


def test_a_file_that_is_no_run_is_refused(tmp_path: Path) -> None:
    for content in ("", "[]", json.dumps({"machine": asdict(MACHINE), "parts": 3})):
        (tmp_path / "other.json").write_text(content)
        with pytest.raises(ConfigError, match=r"other\.json is not a run of the benches"):
            read_encoder_run(tmp_path / "other.json")
    with pytest.raises(ConfigError, match="can't be read"):
        read_encoder_run(tmp_path / "none.json")


@pytest.mark.parametrize("device_type", ["cpu", "cuda"])
@pytest.mark.parametrize("sweep", [False, True])
def test_what_is_declared_exists_and_is_distinct(device_type: str, sweep: bool) -> None:
    declared = encodings(device_type, sweep, 2)
    assert len(set(declared)) == len(declared)
    assert {one.encoder for one in declared} <= set(OPEN)
    assert {one.encoder for one in parts(device_type, sweep)} <= {one.encoder for one in declared}
    assert set(OPEN) == {name for ways in (*WAYS.values(), *SWEPT_WAYS.values()) for name in ways}
