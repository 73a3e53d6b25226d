"""The published trunk from a weight file as a user brings it, all the way to a search."""

import json
import re
from pathlib import Path

import torch

from engine.retriever import Retriever
from mlrm.checkpoint import load
from mlrm.evaluate import main as evaluate
from mlrm.procedural import write_pairs
from mlrm.train import main as train
from mlrm.trunks.densenet import DenseNet169

CONFIG = {"l2norm": True, "image_size": 224, "regions": 2, "token_dim": 32, "transformer_layers": 1}
EARLY = re.compile(r"features\.(conv0|norm0|denseblock1|transition1|denseblock2)\b")


def write_torchvision_file(path: Path) -> dict[str, torch.Tensor]:
    """Random weights in the form of densenet169-b2777c0a.pth: dots in the layers' names, a classifier, no counters."""
    torch.manual_seed(0)
    state = {k: v for k, v in DenseNet169().state_dict().items() if not k.endswith("num_batches_tracked")}
    dotted = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): value for name, value in state.items()}
    head = {"classifier.weight": torch.zeros(1000, 1664), "classifier.bias": torch.zeros(1000)}
    torch.save(dotted | head, path)
    assert "features.denseblock1.denselayer1.norm.1.weight" in dotted
    return state


def test_a_weight_file_is_trained_evaluated_and_searched(tmp_path: Path) -> None:
    brought = write_torchvision_file(tmp_path / "densenet169-b2777c0a.pth")
    for number, split in enumerate(("train", "test")):
        write_pairs(tmp_path / "pairs" / split, 2, seed=number)
    train(
        [tmp_path / "pairs"],
        tmp_path / "run",
        trunk="densenet169",
        trunk_weights=str(tmp_path / "densenet169-b2777c0a.pth"),
        config=json.dumps(CONFIG),
        validation=[0],
        epochs=1,
        batch=2,
        separate_steps=0,
        cache_variants=0,
        device="cpu",
    )
    trained = load(tmp_path / "run" / "last.pt").network().trunk.state_dict()
    moved = {name for name, value in brought.items() if not torch.equal(trained[name], value)}
    assert {name for name in brought if EARLY.match(name)}.isdisjoint(moved)  # as the file has them
    assert "features.denseblock4.denselayer32.conv2.weight" in moved  # and trained from there

    best = tmp_path / "run" / "best.pt"
    evaluate(best, data=[tmp_path / "pairs"], json_file=tmp_path / "found.json", device="cpu")
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["model"] == load(best).fingerprint()
    assert [(one["sketches"], one["photos"]) for one in found["results"]] == [(2, 2)]

    retriever = Retriever(best, tmp_path / "gallery", "cpu", "torch")
    retriever.add(tmp_path / "pairs" / "test" / "photos")
    (sketch, *_) = sorted((tmp_path / "pairs" / "test" / "sketches").iterdir())
    photos = {photo.name for photo in (tmp_path / "pairs" / "test" / "photos").iterdir()}
    assert {match.id for match in retriever.search(sketch)} == photos
