"""The configuration: presets, checks, and a YAML form that comes back equal and builds no objects."""

import math
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.command_line import OneLineParser, add_training_options, training_options
from agents.configuration import PRESET_ONLY, TrainingConfiguration, configure, from_yaml, option_name, to_yaml
from agents.settings import Settings, field_schemas, first_misfit
from agents.studies.definition import OWN_FIELDS
from envs.task import TASKS, task_of
from policies.network.specification import BLOCKS
from specify import NETWORK_OPTIONS


@pytest.mark.parametrize("env", [*TASKS, "Pendulum-v1"])
def test_preset_fills_in_and_options_win(env: str) -> None:
    configuration = configure(env)
    assert {**dict(configuration), **task_of(env).preset, "with_demos": {}} == {**dict(configuration), "with_demos": {}}
    assert configure(env, n_steps=7, batch_size=7).n_steps == 7


@pytest.mark.parametrize(
    ("options", "are_cut"),
    [
        ({}, False),
        ({"training_episode_steps": 50}, True),
        ({"training_episode_steps": 200}, True),
        ({"training_episode_steps": 201}, False),
        ({"training_episode_steps": 50, "env_arguments": {"max_episode_steps": 20}}, False),
    ],
)
def test_episodes_are_cut_unless_they_are_shorter_anyway(options: dict[str, Any], are_cut: bool) -> None:
    assert configure("Pendulum-v1", **options).cuts_episodes == are_cut


def test_yaml_round_trip() -> None:
    configuration = configure(
        "AdroitHandHammer-v1",
        env_arguments={"reward_type": "sparse", "sizes": [1, 2], "deep": {"x": None}},
        densities={"hh": 0.25},
        seed=7,
        learning_rate=1.5e-4,
        run_name="a-run",
    )
    assert from_yaml(to_yaml(configuration, versions={"torch": "2.13.0"})) == configuration


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
OPTIONS = {
    "budget": st.integers(1),
    "learning_rate": st.floats(0, exclude_min=True, allow_infinity=False),
    "densities": st.dictionaries(st.sampled_from(BLOCKS), st.floats(0, 1, exclude_min=True)),
    "env_arguments": st.dictionaries(st.text(max_size=8), SCALARS | st.lists(SCALARS, max_size=3)),
    "log_dir": st.text(),
    "demos": st.none() | st.text(),
    "final_episodes": st.none() | st.integers(1),
    "progress": st.booleans(),
}


@given(st.fixed_dictionaries({}, optional=OPTIONS))
def test_yaml_comes_back_whatever_was_given(options: dict[str, Any]) -> None:
    configuration = configure("CartPole-v1", **options)
    assert from_yaml(to_yaml(configuration, versions={"torch": "2.13.0"})) == configuration


BAD_VALUES = {
    "hidden_proportion": [0.0, 1.0, -0.1, 1.5, math.nan, math.inf, "half", True],
    "budget": [0, -5, 1.5, "many", None, True],
    "learning_rate": [0.0, -1e-3, math.nan, math.inf],
    "gamma": [-0.1, 1.1, math.nan],
    "uniform_density": [0.0, 1.1, math.nan],
    "densities": [{"zz": 0.5}, {"hh": 0.0}, {"hh": 1.1}, {"hh": math.nan}, {"hh": "half"}, 3],
    "seed": [-1, 2**31, 0.5],
    "run_name": ["a/b", "..", "", "/tmp", "."],
    "architecture": ["rnn", 3],
    "activation": ["sigmoid"],
    "env_arguments": ["x=1"],
    "n_envs": [0],
    "progress": ["yes"],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in BAD_VALUES.items() for value in values]
)
def test_bad_value_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{field} ") as caught:
        configure("CartPole-v1", **{field: value})
    assert "\n" not in str(caught.value)
    assert "needed" in str(caught.value)


def test_how_many_episodes_are_imitated_needs_imitation() -> None:
    assert configure("CartPole-v1", self_imitation=1.0, self_imitation_episodes=3).self_imitation_episodes == 3
    with pytest.raises(ValueError, match="^self_imitation_episodes 3 needs `?self_imitation"):
        configure("CartPole-v1", self_imitation_episodes=3)
    with pytest.raises(ValueError, match="`?self_imitation`? does not fit `?normalize_reward`? false"):
        configure("RandomAnomaly-v0", self_imitation=1.0)


def test_renamed_field_keeps_its_check() -> None:
    fields = {f"new_{name}": (field.annotation, field) for name, field in TrainingConfiguration.model_fields.items()}
    renamed = pydantic.create_model("Renamed", __base__=Settings, **fields)  # type: ignore[call-overload]
    for field, values in BAD_VALUES.items():
        for value in values:
            with pytest.raises(pydantic.ValidationError) as caught:
                renamed(new_env="CartPole-v1", **{f"new_{field}": value})
            assert first_misfit(caught.value, renamed)[0][0] == f"new_{field}"


def test_every_number_has_a_bound_but_those_that_others_check() -> None:
    bounds = {"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"}
    numbers = {
        name: field
        for name, field in field_schemas(TrainingConfiguration).items()
        if field["type"] in ("integer", "number")
    }
    assert {name for name, field in numbers.items() if not bounds & field.keys()} == {"log_std_init"}


def test_names_of_fields_kept_elsewhere_are_fields() -> None:
    assert {*OWN_FIELDS, *NETWORK_OPTIONS} <= TrainingConfiguration.model_fields.keys()


def test_every_option_is_read_as_its_field() -> None:
    values = {"integer": 7, "number": 0.5, "string": "text"}
    for name, field in field_schemas(TrainingConfiguration).items():
        parser = OneLineParser()
        add_training_options(parser)
        if name in PRESET_ONLY:
            assert option_name(name) not in parser.format_help()
        elif name in ("env", "env_arguments", "wrappers", "densities", "callbacks"):
            assert option_name(name) in parser.format_help()
        elif field["type"] == "boolean":
            assert training_options(parser.parse_args([option_name(name)])) == {name: not field["default"]}
        else:
            value = field.get("enum", [values[field["type"]]])[-1]
            assert training_options(parser.parse_args([option_name(name), str(value)])) == {name: value}


def test_unknown_option_is_refused() -> None:
    with pytest.raises(ValueError, match="bugdet is unknown: one of .*budget"):
        configure("CartPole-v1", bugdet=3)


@pytest.mark.parametrize(
    "text",
    [
        "env: !!python/object/apply:os.system ['true']",
        "env: !!python/name:os.system ''",
        "- a list",
        "env: 3",
        "env: [",
        "{1: 2, env: CartPole-v1}",
        "env: CartPole-v1\nbugdet: 3",
        "env: CartPole-v1\nbudget: !!python/object:object {}",
        "",
    ],
)
def test_bad_yaml_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        from_yaml(text)
    assert "\n" not in str(caught.value)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    message = ""
    try:
        assert isinstance(from_yaml(text), TrainingConfiguration)
    except ValueError as error:
        message = str(error)
    assert "\n" not in message


def test_every_field_has_help_for_the_command_line() -> None:
    assert all(field.description for field in TrainingConfiguration.model_fields.values())
