"""The drawn rectangles that the training tests share, and a whole run on them."""

from pathlib import Path

import pytest

from tests.mlrm.training.runs import draw_pairs, trainer_of


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pairs(tmp_path_factory.mktemp("boxes"), list("abcdefgh"))


@pytest.fixture(scope="session")
def whole_run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs in one go."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    trainer_of(data, out).run()
    return out
