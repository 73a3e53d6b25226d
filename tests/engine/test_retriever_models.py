"""Which model, device and gallery a `Retriever` takes, and what it says of the others."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from engine.errors import (
    CheckpointError,
    ConfigError,
    FeatureValueError,
    ModelMismatchError,
)
from engine.retriever import Retriever
from tests.engine.conftest import COUNT, Reopen, ids_of, write_checkpoint


def test_the_authors_form_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "authors.pt", attention_over="batch", level_softmax="regions")
    with pytest.raises(ConfigError, match=r"weights depend on the images it is batched with, so it can't be indexed"):
        Retriever(path, tmp_path / "my.gallery", "cpu")


def test_a_gallery_of_another_model_is_refused_with_the_commands_that_help(
    filled: Retriever, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_checkpoint(tmp_path / "other model.safetensors", seed=1)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelMismatchError) as caught:
        Retriever("other model.safetensors", "filled.gallery", "cpu")
    message = str(caught.value)
    assert filled.encoder.fingerprint in message
    assert f"load its model: `--model {filled.encoder.name}`" in message
    assert f"`python -m engine index PHOTOS --gallery {filled.path}.new --model '{other}'`" in message


def test_the_name_of_a_model_does_not_depend_on_the_directory(
    checkpoint: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkpoint.parent)
    retriever = Retriever(checkpoint.name, tmp_path / "g", "cpu")
    retriever.add(photos / "photo-0.png")
    assert retriever.gallery.meta.model_name == retriever.encoder.name == str(checkpoint)


def test_a_gallery_that_another_model_made_meanwhile_is_refused(
    empty: Retriever, photos: Path, sketches: list[Path], tmp_path: Path
) -> None:
    """Both opened while there was none."""
    other = Retriever(write_checkpoint(tmp_path / "other.safetensors", seed=1), empty.path, "cpu")
    empty.add(photos / "photo-0.png")
    with pytest.raises(ModelMismatchError):
        other.add(photos)
    with pytest.raises(ModelMismatchError):
        other.search(sketches[0])
    assert ids_of(empty) == ["photo-0.png"]


def test_a_gallery_of_features_computed_elsewhere_takes_no_photos(
    empty: Retriever, photos: Path, sketches: list[Path], reopen: Reopen
) -> None:
    """Even where the shapes agree: nobody said that the model is the same."""
    empty.add_features(empty.encoder.encode(torch.zeros(1, 3, 224, 224, dtype=torch.uint8), "photo"))
    for retriever in (empty, reopen(empty)):
        with pytest.raises(ModelMismatchError):
            retriever.add(photos)
        with pytest.raises(ModelMismatchError):
            retriever.search(sketches[0])
    assert ids_of(empty) == ["0"]


def test_features_of_another_model_are_refused_by_fingerprint(filled: Retriever) -> None:
    features = filled.encoder.encode(torch.zeros(1, 3, 224, 224, dtype=torch.uint8), "photo")
    with pytest.raises(ModelMismatchError):
        filled.add_features(features, fingerprint="another")
    assert len(filled) == COUNT


def test_a_model_whose_features_are_not_finite_is_noticed(
    filled: Retriever, sketches: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = filled.encoder.encode
    monkeypatch.setattr(filled.encoder, "encode", lambda *a: encode(*a).map(lambda tensor: tensor * float("nan")))
    with pytest.raises(FeatureValueError, match="check the model"):
        filled.search(sketches[0])
    [skip] = filled.add(Image.new("RGB", (32, 32)), ids=["x"]).skipped
    assert "photo 'x', level 0, region 0: found nan" in skip.reason
    monkeypatch.undo()
    assert len(filled.search(sketches[0])) == COUNT


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_a_gpu_that_is_not_there_is_an_error_and_no_silent_cpu(checkpoint: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"device '{name}' was asked for and torch .* sees 0 GPUs; use device cpu"):
        Retriever(checkpoint, tmp_path / "my.gallery", name)


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "meta", "mps"])
def test_an_unknown_device_is_refused(checkpoint: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"device is '{name}'; expected auto, cpu, cuda or cuda:N"):
        Retriever(checkpoint, tmp_path / "my.gallery", name)


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*nowhere.pt; expected"):
        Retriever(tmp_path / "nowhere.pt", tmp_path / "my.gallery", "cpu")
