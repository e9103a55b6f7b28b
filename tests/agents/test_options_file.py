"""Files of options: who wins, presets of the user's own, and refusals with file, line and key."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.command_line import OneLineParser, add_training_options, training_options
from agents.configuration import TrainingConfiguration, configure, to_yaml
from agents.training import plan_training
from policies.refusal import Refusal

OWN = """
learning_rate: 1e-3
densities: {hx: 0.5}
normalize_reward: false
presets:
  CartPole-v1:
    n_epochs: 3
    learning_rate: 0.5
    with_demos: {n_epochs: 4, demo_weight: 0.2}
  my.module:MyEnv-v0: {budget: 5000}
"""


def configured(folder: Path, text: str, *words: str) -> TrainingConfiguration:
    (folder / "own.yaml").write_text(text)
    parser = OneLineParser()
    add_training_options(parser)
    options = training_options(parser.parse_args(["--config", str(folder / "own.yaml"), *words]))
    with options.located():
        configuration = configure(**options)
        plan_training(configuration)
    return configuration


def test_command_line_wins_over_the_file_and_this_over_presets(tmp_path: Path) -> None:
    def resolved(*words: str) -> dict[str, Any]:
        return dict(configured(tmp_path, OWN, "--env", "CartPole-v1", *words))

    expected = dict(configure("CartPole-v1", learning_rate=1e-3, densities={"hx": 0.5}, normalize_reward=False))
    assert resolved() == expected | {"n_epochs": 3}
    given_as_well = resolved(
        "--learning-rate", "0.1", "--density", "hy=0.2", "--n-epochs", "7", "--demos", "some/data-v0"
    )
    assert given_as_well["learning_rate"] == 0.1
    assert given_as_well["densities"] == {"hx": 0.5, "hy": 0.2}
    assert given_as_well["n_epochs"] == 7
    assert given_as_well["demo_weight"] == 0.2
    assert resolved("--demos", "some/data-v0")["n_epochs"] == 4
    assert given_as_well["n_steps"] == configure("CartPole-v1").n_steps


def test_one_file_serves_several_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_environments.py").write_text(
        "import gymnasium\n"
        'for name in ("One-v0", "Two-v0"):\n'
        '    gymnasium.register(name, "gymnasium.envs.classic_control:PendulumEnv", max_episode_steps=5)\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    text = (
        "total_timesteps: 64\n"
        "presets: {own_environments:One-v0: {budget: 700}, Two-v0: {budget: 800, vectorization: threads}}"
    )
    one = configured(tmp_path, text, "--env", "own_environments:One-v0")
    two = configured(tmp_path, text, "--env", "own_environments:Two-v0")
    assert (one.env, one.budget, one.vectorization, one.total_timesteps) == ("One-v0", 700, "serial", 64)
    assert (two.env, two.budget, two.vectorization, two.total_timesteps) == ("Two-v0", 800, "threads", 64)


def test_file_may_name_the_environment_and_the_command_line_another(tmp_path: Path) -> None:
    assert configured(tmp_path, "env: CartPole-v1").env == "CartPole-v1"
    assert configured(tmp_path, "env: CartPole-v1", "--env", "Pendulum-v1").env == "Pendulum-v1"


def test_configuration_of_a_run_is_such_a_file(tmp_path: Path) -> None:
    trained = configure("AdroitHandHammer-v1", hidden_proportion=0.25, densities={"hx": 0.5}, final_episodes=7)
    assert configured(tmp_path, to_yaml(trained, versions={"torch": "2"})) == trained


BAD_FILES = {
    "unknown option": ("env: CartPole-v1\nbugdet: 3\n", 2, "bugdet"),
    "value": ("env: CartPole-v1\n\nbudget: many\n", 3, "budget"),
    "text for a number": ('learning_rate: "1e-3"\n', 1, "learning_rate"),
    "value in a table": ("densities:\n  hh: 0.5\n  hx: 2\n", 3, "densities.hx"),
    "unknown block": ("densities:\n  zz: 0.5\n", 2, "densities.zz"),
    "no table": ("- env\n", 1, ""),
    "presets are no table": ("presets: [3]\n", 1, "presets"),
    "preset is no table": ("presets:\n  CartPole-v1: 3\n", 2, "presets.CartPole-v1"),
    "unknown option in another's preset": ("presets:\n  A-v0:\n    bugdet: 3\n", 3, "presets.A-v0.bugdet"),
    "environment in a preset": ("presets:\n  A-v0: {env: B-v0}\n", 2, "presets.A-v0.env"),
    "value with demonstrations": ("presets:\n  A-v0:\n    with_demos: {keep: 0}\n", 3, "presets.A-v0.with_demos.keep"),
    "two presets": ("presets:\n  A-v0: {}\n  a:A-v0: {}\n", 3, "presets.a:A-v0"),
    "demonstrations outside presets": ("with_demos: {}\n", 1, "with_demos"),
    "unknown environment": ("seed: 1\nenv: CartPol-v1\n", 2, "env"),
    "module": ("env: this:CartPole-v1\n", 1, "env"),
    "object": ("env: CartPole-v1\nname: !!python/object/apply:os.system [id]\n", 2, "name"),
    "values that do not fit each other": ("env: CartPole-v1\ndemo_epochs: 3\n", 2, "demo_epochs"),
    "values of a preset that do not": (
        "env: CartPole-v1\npresets:\n  CartPole-v1: {demo_epochs: 3}\n",
        3,
        "presets.CartPole-v1.demo_epochs",
    ),
    "budget that holds no network": ("env: CartPole-v1\nbudget: 20\n", 2, "budget"),
    "argument of the environment": ("env: CartPole-v1\nenv_arguments: {colour: 3}\n", 2, "env_arguments"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_file_names_file_line_and_key(case: str, tmp_path: Path) -> None:
    text, line, key = BAD_FILES[case]
    with pytest.raises(Refusal, match="own.yaml") as caught:
        configured(tmp_path, text)
    message = str(caught.value)
    assert f"own.yaml, line {line}" in message
    assert f"key {key!r}" in message if key else True
    assert "\n" not in message


def test_option_of_the_command_line_is_not_the_files_fault(tmp_path: Path) -> None:
    with pytest.raises(Refusal) as caught:
        configured(tmp_path, "env: CartPole-v1\nbudget: 300\n", "--budget", "20")
    assert "own.yaml" not in str(caught.value)


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
FIELDS = st.dictionaries(st.sampled_from([*TrainingConfiguration.model_fields, "bugdet"]), VALUES, max_size=3)
PRESETS = st.dictionaries(st.sampled_from(["CartPole-v1", "other"]), FIELDS | VALUES, max_size=2)


@settings(max_examples=150)
@given(FIELDS, PRESETS | VALUES, st.text(max_size=30))
def test_any_file_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, fields: dict[str, Any], presets: Any, text: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    for content in (yaml.safe_dump({"env": "CartPole-v1"} | fields | {"presets": presets}), text):
        (folder / "own.yaml").write_text(content, encoding="utf-8", errors="replace")
        parser = OneLineParser()
        add_training_options(parser)
        try:
            options = training_options(parser.parse_args(["--config", str(folder / "own.yaml")]))
            with options.located():
                configure(**{"env": "CartPole-v1", **options})
        except Refusal as error:
            assert "\n" not in str(error)
