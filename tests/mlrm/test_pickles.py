"""What a pickle may ask for: nothing that lives on after it was read."""

import argparse
import io
import pickle
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from mlrm.errors import CheckpointError
from mlrm.pickles import read_pickle

NAMESPACE = b"cargparse\nNamespace\n"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
FROM_BYTES = b"ctorch.storage\n_load_from_bytes\n"
ORDERED = b"ccollections\nOrderedDict\n"


def pushed(value: Any) -> bytes:
    """The opcodes that leave a plain value on the stack."""
    return pickle.dumps(value, protocol=2)[2:-1]


def setting(target: bytes, name: str, value: Any, *, slot: bool) -> bytes:
    """A pickle that sets an attribute of what `target` pushes, by way of its `__dict__` or by setattr."""
    state = (None, {name: value}) if slot else {name: value}
    return b"\x80\x02" + target + pushed(state) + b"b."


def attributes(thing: Any) -> dict[str, Any]:
    return dict(vars(thing)) | {"__defaults__": getattr(thing, "__defaults__", None)}


@pytest.mark.parametrize("slot", [False, True], ids=["dict", "setattr"])
@pytest.mark.parametrize(
    ("target", "thing", "name", "value"),
    [
        (NAMESPACE, argparse.Namespace, "__init__", 1),
        (NAMESPACE, argparse.Namespace, "marked", 1),
        (REBUILD, torch._utils._rebuild_tensor_v2, "marked", 1),
        (REBUILD, torch._utils._rebuild_tensor_v2, "__defaults__", ({},)),
        (FROM_BYTES, torch.storage._load_from_bytes, "marked", 1),
        (ORDERED, OrderedDict, "marked", 1),
    ],
    ids=["class-method", "class", "function", "function-defaults", "loader", "ordered"],
)
def test_a_pickle_changes_nothing_that_lives_on(
    tmp_path: Path, target: bytes, thing: Any, name: str, value: Any, slot: bool
) -> None:
    before = attributes(thing)
    path = tmp_path / "model.pkl"
    path.write_bytes(setting(target, name, value, slot=slot))
    try:
        with pytest.raises(CheckpointError, match=r"model\.pkl"):
            read_pickle(path)
        assert attributes(thing) == before
    finally:
        if attributes(thing) != before:  # don't let the failure of this test become that of others
            if name in before:
                setattr(thing, name, before[name])
            else:
                delattr(thing, name)


@pytest.mark.parametrize("zipped", [False, True])
def test_torchs_own_classes_do_not_come_in_place_of_a_tensors_values(tmp_path: Path, zipped: bool) -> None:
    """A file of torch.save may hold a bare class, which the pickle around it could then change."""
    inner = io.BytesIO()
    torch.save(torch.nn.Parameter, inner, _use_new_zipfile_serialization=zipped)
    content = inner.getvalue()
    # BINBYTES, TUPLE1, REDUCE
    target = FROM_BYTES + b"B" + len(content).to_bytes(4, "little") + content + b"\x85R"
    (tmp_path / "model.pkl").write_bytes(setting(target, "marked", 1, slot=True))
    try:
        with pytest.raises(CheckpointError, match=r"model\.pkl was not read: it holds a \w+ in place of a tensor's"):
            read_pickle(tmp_path / "model.pkl")
        assert not hasattr(torch.nn.Parameter, "marked")
    finally:
        if hasattr(torch.nn.Parameter, "marked"):
            del torch.nn.Parameter.marked


def test_arguments_are_no_real_namespace(tmp_path: Path) -> None:
    content = {"args": argparse.Namespace(lr=1e-4)}
    torch.save(content, tmp_path / "zip.pkl")
    torch.save(content, tmp_path / "legacy.pkl", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(content))
    for name in ("zip", "legacy", "plain"):
        arguments = read_pickle(tmp_path / f"{name}.pkl")["args"]
        assert arguments.lr == 1e-4
        assert not isinstance(arguments, argparse.Namespace)


def test_two_threads_that_read_at_once_do_not_refuse_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"args": argparse.Namespace(lr=1e-4)}, tmp_path / "model.pkl")
    original, first, second_ended = torch.load, threading.Lock(), threading.Event()
    inside = threading.Event()

    def load(*arguments: Any, **options: Any) -> Any:
        if first.acquire(blocking=False):
            inside.set()
            second_ended.wait(0.5)  # as long as the second takes, if it isn't made to wait for the first
        return original(*arguments, **options)

    monkeypatch.setattr(torch, "load", load)
    results: list[Any] = []

    def read() -> None:
        try:
            results.append(read_pickle(tmp_path / "model.pkl"))
        except CheckpointError as error:
            results.append(error)

    one, two = threading.Thread(target=read), threading.Thread(target=read)
    one.start()
    inside.wait()
    two.start()
    two.join(0.2)
    second_ended.set()
    one.join()
    two.join()
    assert [type(result) for result in results] == [dict, dict]


def test_what_is_allowed_for_a_read_is_not_allowed_after_it(tmp_path: Path) -> None:
    before = set(torch.serialization.get_safe_globals())
    torch.save({"args": argparse.Namespace(lr=1e-4)}, tmp_path / "model.pkl")
    read_pickle(tmp_path / "model.pkl")
    assert set(torch.serialization.get_safe_globals()) == before
