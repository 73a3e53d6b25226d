"""Models to write, and the ways files of them have been written."""

import pickle
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from mlrm import MLRM, MLRMConfig


def lite(**overrides: Any) -> MLRM:
    torch.manual_seed(0)
    model = MLRM(MLRMConfig.paper(trunk="efficientnet_lite0", token_dim=32, l2norm=True, **overrides))
    # No weight and no statistic at a value that a new model has anyway.
    for value in model.state_dict().values():
        value.add_(0.25 if value.is_floating_point() else 7)
    return model


@cache
def lite_model() -> MLRM:
    return lite()


def assert_same_model(actual: MLRM, expected: MLRM, rounded: bool = False) -> None:
    assert actual.config == expected.config
    states = actual.state_dict(), expected.state_dict()
    assert list(states[0]) == list(states[1])
    for name, value in states[0].items():
        known = states[1][name]
        assert value.dtype == known.dtype
        assert torch.equal(value, known.half().float() if rounded and known.is_floating_point() else known), name


def torch_legacy(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def plain(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


def plain_protocol_0(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content, protocol=0))


WRITERS = pytest.mark.parametrize("write", [torch.save, torch_legacy, plain], ids=["zip", "legacy", "plain"])
