"""Files of torch.save and of plain `pickle`, read without running or changing anything they name."""

import io
import pickle
import re
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import torch

from mlrm.errors import CheckpointError

# torch keeps what `safe_globals` allows for the whole process: of two threads, one would end the other's permission.
_ALLOWING = threading.Lock()


def read_pickle(path: Path) -> dict[str, Any]:
    """The dict in a file of torch.save or pickle, tensors and plain values only (an `argparse.Namespace` is a stub).

    Raises `CheckpointError` naming what else the pickle asked for; nothing it carries is run.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(4) == b"PK\x03\x04"
            file.seek(0)
            content = None if zipped else _PlainUnpickler(file).load()
            if zipped or content == torch.serialization.MAGIC_NUMBER:
                file.seek(0)
                content = _load_torch(file)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path.name} was not read: {_refusal(error)}. Expected tensors and plain values only; if you trust its "
            "source, load it in a program of your own and save the state dict alone"
        ) from error
    except Exception as error:  # a damaged pickle can raise anything
        raise CheckpointError(f"{path.name} is damaged or not a checkpoint: {type(error).__name__}: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path.name} holds a {type(content).__name__}; expected a dict")
    return content


def _refusal(error: pickle.UnpicklingError) -> str:
    """What the pickle asked for, without torch's advice around it (to try again and let code run)."""
    text = str(error)
    if asked := re.search(r"GLOBAL (\S+)", text):
        return f"it asks for {asked[1]}"
    reason = re.search(r"WeightsUnpickler error:\s*(.+)", text)
    return (reason[1] if reason else text.strip().partition("\n")[0]).rstrip(". ")


def _load_torch(file: BinaryIO) -> Any:
    with _ALLOWING, torch.serialization.safe_globals([(_namespace(), "argparse.Namespace")]):
        return torch.load(file, map_location="cpu", weights_only=True)


def _namespace() -> type:
    """A class that stands for `argparse.Namespace`, in which the authors' program keeps its arguments."""
    return type("Namespace", (), {})


class _PlainUnpickler(pickle.Unpickler):
    """Reads a dict of tensors written by plain `pickle`; any other class or function is refused by name.

    A pickle can set attributes of whatever it is given, of classes and functions too. So each is made for this one
    unpickler, but for OrderedDict, which is immutable.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)

        def rebuild_tensor(*arguments: Any) -> Any:
            return torch._utils._rebuild_tensor_v2(*arguments)  # type: ignore[no-untyped-call]

        def load_from_bytes(content: bytes) -> Any:
            storage = _load_torch(io.BytesIO(content))
            # torch gives out its own classes and functions if a file holds them instead of a storage.
            if not isinstance(storage, torch.storage.TypedStorage):
                raise pickle.UnpicklingError(f"it holds a {type(storage).__name__} in place of a tensor's values")
            return storage

        self._allowed = {
            ("collections", "OrderedDict"): OrderedDict,
            ("argparse", "Namespace"): _namespace(),
            ("torch._utils", "_rebuild_tensor_v2"): rebuild_tensor,
            ("torch.storage", "_load_from_bytes"): load_from_bytes,
        }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return self._allowed[module, name]
