"""Files that are no checkpoint: refused by name, and no code in them is run."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from engine.errors import CheckpointError
from engine.retriever import Retriever
from tests.engine.test_bad_images import GREEN


class _RunsCode:
    """Unpickled by plain pickle, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def _write_pickle(path: Path, content: object) -> None:
    path.write_bytes(pickle.dumps(content))


CHECKPOINTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "of-another-kind.safetensors": (
        lambda path: safetensors.torch.save_file({"weight": torch.zeros(2)}, path),
        r"without an MLRM configuration; expected",
    ),
    "of-another-model.pt": (
        lambda path: torch.save({"state_dict": {"weight": torch.zeros(2)}}, path),
        r"is no MLRM checkpoint: found the entries \['state_dict'\]; expected one",
    ),
    "a-whole-module.pt": (
        lambda path: torch.save(torch.nn.Linear(2, 2), path),
        r"was not read: .*Expected tensors",
    ),
    "damaged.safetensors": (
        lambda path: path.write_bytes(b"\xff" * 99),
        r"is damaged or not a safetensors file",
    ),
    "an-image.pt": (
        lambda path: GREEN.save(path, "PNG"),
        r"is damaged or not a checkpoint|was not read",
    ),
    "code.pkl": (
        lambda path: _write_pickle(path, _RunsCode(path.with_name("ran"))),
        r"it asks for .*mkdir.*trust its source",
    ),
    "code-inside.pkl": (
        lambda path: _write_pickle(path, {"model": {"nets.0.x": _RunsCode(path.with_name("ran"))}}),
        r"it asks for .*mkdir.*trust its source",
    ),
    "code.pt": (
        lambda path: torch.save({"model": _RunsCode(path.with_name("ran"))}, path),
        r"was not read: .*Expected tensors",
    ),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_that_is_none_is_refused_and_no_code_run(tmp_path: Path, name: str) -> None:
    write, reason = CHECKPOINTS[name]
    write(tmp_path / name)
    with pytest.raises(CheckpointError, match=reason) as caught:
        Retriever(tmp_path / name, tmp_path / "my.gallery", "cpu")
    assert name in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
