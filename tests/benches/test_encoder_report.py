"""The encoders' part of a run: read, judged, written, read back."""

import json
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from benches.encoder_page import encoder_page, goals_reached, not_measured
from benches.encoder_rows import EncoderRun, read_encoder_run
from benches.encoders import OPEN
from benches.encodings import PARTS, SWEPT_WAYS, WAYS, Encoding, Part, encodings, parts
from benches.report import write_encoders
from benches.rows import read_run
from mlrm.errors import ConfigError
from tests.benches.runs import MACHINE, recorded, write

SECONDS = {
    ("densenet169", 2, "torch"): 0.120,
    ("densenet169", 2, "bf16-openvino"): 0.024,
    ("densenet169", 2, "int8-openvino"): 0.010,
    ("densenet169", 1, "torch"): 0.200,
    ("lite0", 2, "torch"): 0.040,
    ("lite0", 2, "fp32-onnx"): 0.016,
}
TOP10 = {"bf16-openvino": 0.985, "int8-openvino": 0.89}
FAILURE = "top10 overlap with the original 0.8900, expected at least 0.9"


def measured() -> dict[str, Any]:
    """The JSON of a run with these medians, the parts of one search, and a row without a time."""
    found = recorded()

    def one(seconds: float, info: dict[str, Any]) -> dict[str, Any]:
        return {"stats": {"median": seconds, "iqr": seconds / 100, "rounds": 9}, "extra_info": info}

    for (trunk, threads, way), seconds in SECONDS.items():
        agreement = {
            "fingerprint": trunk[:1] * 64,
            "trained": trunk == "lite0",
            "rms": 0.01,
            "top1": 1.0,
            "top10": TOP10.get(way, 1.0),
            "judged_as": OPEN[way].judged_as,
            "failures": [FAILURE] if way == "int8-openvino" else [],
        }
        found["benchmarks"].append(one(seconds, asdict(Encoding(trunk, 1, threads, way)) | agreement))
    for number, part in enumerate(PARTS, 1):
        found["benchmarks"].append(one(number / 1000, asdict(Part("lite0", "torch", 10_000, part))))
    absent = asdict(Encoding("lite0", 8, 2, "fp32-openvino")) | {"reason": "not installed"}
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


def test_only_encoders_within_their_tolerances_reach_a_goal_and_on_all_cores(run: EncoderRun) -> None:
    dense, light = goals_reached(run)
    assert dense.row.encoding == Encoding("densenet169", 1, 2, "bf16-openvino")
    assert dense.reached == pytest.approx(5)
    assert dense.met
    assert light.row.encoding.encoder == "fp32-onnx"
    assert light.reached == pytest.approx(16)
    assert not light.met
    assert "| 5.00x |" in encoder_page(run)
    assert "| 16.0 ms |" in encoder_page(run)


def test_goals_of_another_device_say_nothing(run: EncoderRun) -> None:
    gpu = replace(run, machine=replace(run.machine, device_type="cuda"))
    assert [one.goal.factor for one in goals_reached(gpu)] == [5.0, 5.0]
    assert "Not yet measured" in encoder_page(replace(run, rows=()))


def test_the_page_tells_rates_factors_parity_and_parts(run: EncoderRun) -> None:
    text = encoder_page(run)
    assert "| 2 | 1 | bf16-openvino | 24.0 ms | 0.2 ms | 41.7 | 5.00 | 1.0e-02 | (1.000) | (0.985) | as bf16 |" in text
    assert "| 2 | 1 | fp32-onnx | 16.0 ms | 0.2 ms | 62.5 | 2.50 | 1.0e-02 | 1.000 | 1.000 | as fp32 |" in text
    assert "| 12.00 | 1.0e-02 | (1.000) | (0.890) | fails as int8 |" in text
    assert f"- int8-openvino fails: {FAILURE}" in text
    assert "| lite0 | 10,000 | torch | 1.00 ms | 2.00 ms | 3.00 ms | 4.00 ms |" in text
    for before, line in pairwise(text.splitlines()):
        if before.startswith("|") and line.startswith("|"):
            assert before.count("|") == line.count("|")


def test_the_page_says_whose_weights_they_are_and_claims_no_ranking_of_untrained_ones(run: EncoderRun) -> None:
    text = encoder_page(run)
    assert "Weights of lite0: `llllllllllllllll`, trained." in text
    assert "Weights of densenet169: `dddddddddddddddd`, untrained." in text
    dense, light = (line for line in text.splitlines() if line.endswith(("| met |", "| missed |")))
    assert (
        "bf16-openvino, outputs within an RMS error of 1.0e-02; untrained, so an equal top-10 can't be shown" in dense
    )
    assert "fp32-onnx, top-10 1.000" in light


def test_all_that_is_declared_has_a_time_or_a_reason(run: EncoderRun) -> None:
    text = encoder_page(run)
    assert "| lite0, fp32-openvino: B8-T2 | not installed |" in text
    assert "| lite0, torch-compile: B1-T1, B8-T1, B64-T1, B1-T2, B8-T2, B64-T2 | declared, and not part of" in text
    assert "| densenet169, torch: B8-T1, B64-T1, B8-T2, B64-T2, decode, encode, search, whole | declared, and" in text
    absent = list(not_measured(run))
    declared = {(one.trunk, one.encoder) for one in encodings("cpu", True, 2)}
    assert {tuple(one.name.partition(":")[0].split(", ")) for one in absent} == declared
    everything = replace(run, rows=tuple(replace(run.rows[0], encoding=one) for one in encodings("cpu", True, 2)))
    left = [one for one in not_measured(everything) if "decode" not in one.name]
    assert left == list(run.absent)  # what was skipped by another run, by its own name


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
