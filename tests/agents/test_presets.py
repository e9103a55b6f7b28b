"""Presets: whole sequences per minibatch, ids found with and without a module, and no way to change one by accident."""

import gymnasium
import pytest

from agents.command_line import OneLineParser, add_training_options, training_options
from agents.configuration import TrainingConfiguration, configure
from envs.lookup import environment_spaces
from envs.task import TASKS, Task, pays_progress, task_of
from envs.vectorized.make import VECTORIZATIONS

PRESETS = {env_id: task.preset for env_id, task in TASKS.items() if task.preset}
ENVIRONMENTS = [*PRESETS, "any other"]


@pytest.mark.parametrize("demos", [None, "some/data-v0"])
@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_minibatches_are_whole_sequences_that_fill_a_rollout(env: str, demos: str | None) -> None:
    preset = configure(env, demos=demos)
    assert preset.batch_size % preset.n_steps == 0
    assert (preset.n_envs * preset.n_steps) % preset.batch_size == 0
    assert preset.vectorization in VECTORIZATIONS
    assert preset.reward == "registered" or (demos is None and pays_progress(preset.reward))
    assert preset.eval_every <= preset.total_timesteps


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_presets_set_what_differs_from_the_defaults_and_is_no_other_environment(env: str) -> None:
    defaults = dict(TrainingConfiguration(env=env))
    fields = {name: value for name, value in task_of(env).preset.items() if name != "with_demos"}
    assert all(value != defaults[name] for name, value in fields.items())
    with_demos = task_of(env).preset.get("with_demos", {})
    assert all(value != fields.get(name, defaults[name]) for name, value in with_demos.items())
    assert "env" not in {*fields, *with_demos}


def test_lookup() -> None:
    assert configure("CartPole-v1").budget < configure("Pendulum-v1").budget == 50_000
    assert task_of("some.module:CartPole-v1").preset == task_of("CartPole-v1").preset
    assert task_of("Pendulum-v1").preset == {}
    assert task_of("AdroitHandHammer-v1").preset
    assert not task_of("Pendulum-v1").preset


def test_record_of_a_task_brings_a_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, "Guess-v0", Task(ids=("Guess-v0",), preset={"n_envs": 3, "with_demos": {"n_envs": 5}}))
    assert configure("Guess-v0").n_envs == 3
    assert configure("some.module:Guess-v0", demos="some/data-v0").n_envs == 5
    assert task_of("Guess-v0").preset


def test_presets_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        task_of("CartPole-v1").preset["budget"] = 1  # type: ignore[index]
    with pytest.raises(TypeError):
        task_of("AdroitHandHammer-v1").preset["with_demos"]["n_envs"] = 1  # type: ignore[index]
    with pytest.raises(TypeError):
        task_of("Pendulum-v1").preset["budget"] = 1  # type: ignore[index]


@pytest.mark.parametrize("env_id", [env_id for env_id in PRESETS if env_id in gymnasium.registry or "Adroit" in env_id])
def test_every_preset_names_an_environment_that_can_be_trained_on(env_id: str) -> None:
    environment_spaces(env_id)


def test_numbers_of_a_preset_are_left_out_by_none() -> None:
    parser = OneLineParser()
    add_training_options(parser)
    words = ["--env", "AdroitHandDoor-v1", "--training-episode-steps", "none", "--log-std-final", "none"]
    configuration = configure(**training_options(parser.parse_args([*words, "--target-kl", "none"])))
    assert (configuration.training_episode_steps, configuration.log_std_final, configuration.target_kl) == (None,) * 3
    with pytest.raises(SystemExit):
        parser.parse_args(["--env", "CartPole-v1", "--learning-rate", "none"])
