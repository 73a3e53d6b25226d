import json
import math
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlrm.config import TRUNKS, MLRMConfig
from mlrm.errors import ConfigError

# token_dim and attention_heads depend on each other: the width is a multiple of 4 and of the heads.
heads_and_widths = st.tuples(st.integers(1, 8), st.integers(1, 8)).map(
    lambda drawn: {"attention_heads": drawn[0], "token_dim": math.lcm(4, drawn[0]) * drawn[1]}
)
overrides = st.fixed_dictionaries(
    {},
    optional={
        "trunk": st.sampled_from(TRUNKS),
        "image_size": st.integers(7, 20).map(lambda cells: 32 * cells),
        "regions": st.integers(1, 8),
        "levels": st.sets(st.integers(0, 3), min_size=1).map(lambda levels: tuple(sorted(levels))),
        "region_maps": st.sampled_from(["lama", "cama"]),
        "threshold_cells": st.integers(0, 49),
        "transformer_layers": st.integers(1, 6),
        "dropout": st.floats(0, 1, exclude_max=True),
        "l2norm": st.booleans(),
        "shared_networks": st.booleans(),
        "attention_over": st.sampled_from(["tokens", "batch"]),
        "level_softmax": st.sampled_from(["levels", "regions"]),
        "region_weight_power": st.sampled_from([1, 2]),
        "margin": st.floats(0, 10),
        "alpha": st.floats(0, 10),
        "beta": st.floats(0, 10),
        "overlap_penalty": st.sampled_from(["lama", "cama"]),
    },
)


def differing_fields(a: MLRMConfig, b: MLRMConfig) -> set[str]:
    return {field.name for field in fields(a) if getattr(a, field.name) != getattr(b, field.name)}


def test_the_presets_differ_in_what_the_poster_and_the_program_differ_in() -> None:
    paper, authors = MLRMConfig.paper(), MLRMConfig.authors()
    assert differing_fields(paper, authors) == {"attention_over", "level_softmax", "region_weight_power"}
    assert (paper.attention_over, paper.level_softmax, paper.region_weight_power) == ("tokens", "levels", 1)
    assert (authors.attention_over, authors.level_softmax, authors.region_weight_power) == (
        "batch",
        "regions",
        2,
    )


def test_the_poster_form_is_the_default() -> None:
    assert MLRMConfig() == MLRMConfig.paper()


def test_defaults_are_the_published_ones() -> None:
    config = MLRMConfig.paper()
    assert (config.trunk, config.image_size, config.levels) == ("densenet169", 256, (1, 2, 3))
    assert (config.regions, config.threshold_cells) == (3, 3)
    assert (config.token_dim, config.transformer_layers, config.attention_heads, config.dropout) == (
        128,
        3,
        4,
        0.1,
    )
    assert (config.margin, config.alpha, config.beta) == (0.3, 0.1, 0.1)
    assert (config.region_maps, config.overlap_penalty) == ("lama", "lama")
    assert config.shared_networks
    assert not config.l2norm


@pytest.mark.parametrize("preset", [MLRMConfig.paper, MLRMConfig.authors])
def test_a_preset_takes_overrides_and_changes_nothing_else(preset: Any) -> None:
    config = preset(regions=4, threshold_cells=5, token_dim=64, l2norm=True)
    assert differing_fields(config, preset()) == {"regions", "threshold_cells", "token_dim", "l2norm"}
    assert (config.regions, config.threshold_cells, config.token_dim, config.l2norm) == (4, 5, 64, True)


def test_an_override_beats_the_preset() -> None:
    assert MLRMConfig.authors(attention_over="tokens").attention_over == "tokens"


@given(overrides, heads_and_widths)
def test_json_round_trip(values: dict[str, Any], widths: dict[str, int]) -> None:
    config = MLRMConfig.paper(**values, **widths)
    text = config.to_json()
    assert "\n" not in text
    assert MLRMConfig.from_json(text) == config
    assert hash(MLRMConfig.from_json(text)) == hash(config)  # levels are a tuple again


def test_json_may_leave_out_defaults() -> None:
    assert MLRMConfig.from_json('{"levels": [3]}') == MLRMConfig.paper(levels=(3,))


@pytest.mark.parametrize("build", [MLRMConfig.paper, MLRMConfig.authors])
def test_unknown_keys_are_named_beside_the_known_ones(build: Any) -> None:
    with pytest.raises(ConfigError, match=r"unknown configuration keys \['region'\].*'regions'"):
        build(region=4)


def test_a_configuration_of_a_newer_version_is_refused() -> None:
    newer = json.dumps(json.loads(MLRMConfig.paper().to_json()) | {"new_option": 1})
    with pytest.raises(ConfigError, match="new_option"):
        MLRMConfig.from_json(newer)


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "null", '"paper"', '{"regions": "3"}', '{"levels": 3}'])
def test_what_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        MLRMConfig.from_json(text)


REFUSED = [
    ("trunk", "resnet50"),
    ("region_maps", "LAMA"),
    ("attention_over", "images"),
    ("level_softmax", "channels"),
    ("overlap_penalty", "none"),
    ("region_weight_power", 0),
    ("region_weight_power", 3),
    *[(name, 0) for name in ("regions", "token_dim", "transformer_layers", "attention_heads")],
    ("threshold_cells", -1),
    ("threshold_cells", 1.5),
    ("threshold_cells", 65),  # a grid of 256 / 32 has 64 cells
    ("regions", "3"),
    ("regions", 2.0),
    ("regions", True),
    ("image_size", 0),
    ("image_size", 192),  # a grid of 6 x 6
    ("image_size", 250),
    ("levels", ()),
    ("levels", (2, 1)),
    ("levels", (1, 1)),
    ("levels", (3, 4)),
    ("levels", (1.0, 2.0)),
    ("levels", ("1",)),
    ("levels", 3),
    ("token_dim", 126),
    ("attention_heads", 3),
    ("dropout", -0.1),
    ("dropout", 1.0),
    ("dropout", math.nan),
    ("dropout", "0.1"),
    ("l2norm", "false"),
    ("shared_networks", 0),
    ("margin", -0.3),
    ("margin", math.nan),
    ("alpha", math.inf),
    ("beta", "0.1"),
]


@pytest.mark.parametrize(("name", "value"), REFUSED, ids=[f"{name}={value}" for name, value in REFUSED])
def test_a_value_out_of_range_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name) as refusal:
        MLRMConfig.paper(**{name: value})
    assert "expected" in str(refusal.value)


def test_a_width_must_split_into_heads_and_quarters() -> None:
    with pytest.raises(ConfigError, match="multiple of 4"):
        MLRMConfig.paper(token_dim=30, attention_heads=3)
    assert MLRMConfig.paper(token_dim=36, attention_heads=3).token_dim == 36


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        MLRMConfig.paper().regions = 4  # type: ignore[misc]


def test_the_poster_form_may_be_indexed() -> None:
    MLRMConfig.paper().require_image_features()
    MLRMConfig.authors(attention_over="tokens").require_image_features()


def test_the_released_form_refuses_to_be_indexed_and_says_why_and_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"depend on the images it is batched with.*trained with attention_over='tok"):
        MLRMConfig.authors().require_image_features()
