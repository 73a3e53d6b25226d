"""A gallery notes which artefacts made its features, whatever happens to it afterwards."""

import hashlib
import shutil
import sqlite3
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from engine.artefacts import Artefact
from engine.cli import app
from engine.gallery import Gallery
from engine.retriever import Retriever
from engine.schema import CATALOGUE
from mlrm.features import Features
from tests.engine.conftest import COUNT
from tests.engine.small_gallery import add

ONNX = Artefact("onnx", "fp16", "/models/a.onnx", "1" * 64)
OPENVINO = Artefact("openvino", "bf16", "/models/b.onnx", "2" * 64)


def test_photos_are_counted_by_what_made_them(gallery: Gallery) -> None:
    assert gallery.info().artefacts == {}
    add(gallery, 0, 1, made_by=ONNX)
    add(gallery, 2, made_by=OPENVINO)
    add(gallery, 3, 4, 5, 6, made_by=ONNX)
    add(gallery, 7)  # features computed elsewhere
    assert Gallery.open(gallery.path).info().artefacts == {ONNX: 6, OPENVINO: 1}
    with gallery.writer() as writer:
        writer.compact()
    assert gallery.info().artefacts == {ONNX: 6, OPENVINO: 1}


def test_a_batch_that_is_refused_counts_for_nothing(gallery: Gallery) -> None:
    add(gallery, 0, 1, made_by=ONNX)
    with pytest.raises(Exception, match="already holds"):
        add(gallery, 1, 2, made_by=OPENVINO)
    assert gallery.info().artefacts == {ONNX: 2}


def test_a_restored_gallery_tells_what_made_the_snapshots_photos(gallery: Gallery, tmp_path: Path) -> None:
    add(gallery, 0, 1, made_by=ONNX)
    gallery.copy(tmp_path / "snapshot")
    add(gallery, 2, made_by=OPENVINO)
    assert Gallery.restore(gallery.path, tmp_path / "snapshot").info().artefacts == {ONNX: 2}
    assert Gallery.restore(tmp_path / "new", tmp_path / "snapshot").info().artefacts == {ONNX: 2}


def test_a_gallery_of_an_earlier_release_is_opened_and_added_to(gallery: Gallery) -> None:
    add(gallery, 0, made_by=ONNX)
    with sqlite3.connect(gallery.path / CATALOGUE) as connection:
        connection.execute("DELETE FROM meta WHERE key = 'artefacts'")
    connection.close()
    old = Gallery.open(gallery.path)
    assert (old.info().photos, old.info().artefacts) == (1, {})
    add(old, 1, made_by=OPENVINO)
    assert old.info().artefacts == {OPENVINO: 1}


def test_what_a_later_release_noted_is_left_alone(gallery: Gallery) -> None:
    add(gallery, 0, made_by=ONNX)
    with sqlite3.connect(gallery.path / CATALOGUE) as connection:
        connection.execute("UPDATE meta SET value = replace(value, 'dtype', 'precision') WHERE key = 'artefacts'")
    connection.close()
    assert Gallery.open(gallery.path).info().artefacts == {}


def test_a_model_file_replaced_meanwhile_is_not_what_made_the_features(
    photos: Path, checkpoint: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model.safetensors"
    shutil.copy(checkpoint, model)
    content = hashlib.sha256(model.read_bytes()).hexdigest()
    retriever = Retriever(gallery=tmp_path / "g", model=model, device="cpu")
    model.unlink()
    retriever.add(photos)
    assert retriever.gallery is not None
    assert [made_by.sha256 for made_by in retriever.gallery.info().artefacts] == [content]


def test_a_retriever_notes_its_backend_and_the_files_content(empty: Retriever, photos: Path, checkpoint: Path) -> None:
    empty.add(photos)
    assert empty.gallery is not None
    content = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    made_by = Artefact("torch", "fp32", str(checkpoint), content)
    assert empty.gallery.info().artefacts == {made_by: COUNT}
    shapes = empty.gallery.meta.shapes
    one = Features(
        tuple(torch.rand(1, shapes.regions, width) for width in shapes.level_dims),
        torch.rand(1, shapes.regions),
        torch.rand(1, shapes.regions, len(shapes.level_dims)),
        torch.rand(1, shapes.regions, *shapes.map_size),
    )
    empty.add_features(one)
    assert empty.gallery.info().artefacts == {made_by: COUNT}
    shown = CliRunner(env={"COLUMNS": "400"}).invoke(app, ["info", "--gallery", str(empty.path)]).stdout
    assert f"torch, fp32, {checkpoint}, SHA-256 {content} ({COUNT} photos added)" in shown


def test_info_says_where_nothing_was_noted(gallery: Gallery) -> None:
    shown = CliRunner(env={"COLUMNS": "400"}).invoke(app, ["info", "--gallery", str(gallery.path)]).stdout
    assert "not noted: added by an earlier release, or as features" in shown
