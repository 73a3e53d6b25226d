"""Code in a pickle does not run."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mlrm.checkpoint import load, load_training
from mlrm.errors import CheckpointError
from tests.mlrm.checkpoints import WRITERS, plain, plain_protocol_0, torch_legacy


class Runs:
    """Unpickled, it makes a folder: harmless, and seen."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f'mkdir "{self.folder}"',)


@pytest.mark.parametrize("write", [torch.save, torch_legacy, plain, plain_protocol_0])
@pytest.mark.parametrize("name", ["model.pt", "model.pkl", "model.bin"])
@pytest.mark.parametrize("place", ["whole", "entry", "nested"])
def test_code_in_a_pickle_does_not_run(
    tmp_path: Path, write: Callable[[Any, Path], None], name: str, place: str
) -> None:
    runs, path = Runs(tmp_path / "it ran"), tmp_path / name
    write({"whole": runs, "entry": {"model": runs}, "nested": {"model": {"nets.0.x": [runs]}}}[place], path)
    for read in (load, load_training):
        with pytest.raises(
            CheckpointError, match=rf"{name} was not read: it asks for \w+\.system\. Expected"
        ) as refusal:
            read(path)
        assert "weights_only" not in str(refusal.value)  # torch's own message says how to let it run
    assert not (tmp_path / "it ran").exists()


def test_a_pickle_that_torch_cannot_read_safely_is_refused_with_the_reason(tmp_path: Path) -> None:
    torch.save({"model": {"nets.0.x": 1}}, tmp_path / "new.pt", pickle_protocol=4)
    with (
        pytest.warns(UserWarning, match="pickle protocol 4"),
        pytest.raises(CheckpointError, match=r"new\.pt was not read: Unsupported operand \d+\. Expected"),
    ):
        load(tmp_path / "new.pt")


@WRITERS
def test_the_code_would_have_run_elsewhere(tmp_path: Path, write: Callable[[Any, Path], None]) -> None:
    """So the test above says something."""
    write(Runs(tmp_path / "it ran"), tmp_path / "model.pkl")
    if write is plain:
        pickle.loads((tmp_path / "model.pkl").read_bytes())
    else:
        torch.load(tmp_path / "model.pkl", weights_only=False)
    assert (tmp_path / "it ran").exists()


def test_code_behind_a_plain_pickles_tensors_does_not_run(tmp_path: Path) -> None:
    """A tensor in a plain pickle is a pickle within the pickle, which is read as carefully."""
    torch_legacy(Runs(tmp_path / "it ran"), tmp_path / "inner")

    class Inner:
        def __reduce__(self) -> tuple[Any, tuple[bytes]]:
            return torch.storage._load_from_bytes, ((tmp_path / "inner").read_bytes(),)

    plain({"model": Inner()}, tmp_path / "model.pkl")
    with pytest.raises(CheckpointError, match=r"(?s)model\.pkl was not read"):
        load(tmp_path / "model.pkl")
    assert not (tmp_path / "it ran").exists()
