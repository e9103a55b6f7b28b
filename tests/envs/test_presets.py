"""Presets: whole sequences per minibatch, ids found with and without a module, and no way to change one by accident."""

import dataclasses

import gymnasium
import pytest

from envs.lookup import environment_spaces
from envs.presets import PRESETS, Preset, has_preset, preset_for
from envs.vectorized.make import VECTORIZATIONS

ALL = [*PRESETS.items(), ("any other", Preset())]


@pytest.mark.parametrize(("name", "preset"), ALL)
def test_minibatches_are_whole_sequences_that_fill_a_rollout(name: str, preset: Preset) -> None:
    assert preset.batch_size % preset.n_steps == 0
    assert (preset.n_envs * preset.n_steps) % preset.batch_size == 0
    assert preset.vectorization in VECTORIZATIONS
    assert preset.reward == "registered"
    assert preset.eval_every <= preset.total_timesteps


def test_lookup() -> None:
    assert preset_for("CartPole-v1").budget < Preset().budget == 50_000
    assert preset_for("some.module:CartPole-v1") == preset_for("CartPole-v1")
    assert preset_for("Pendulum-v1") == Preset()
    assert has_preset("AdroitHandHammer-v1")
    assert not has_preset("Pendulum-v1")


def test_presets_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        preset_for("CartPole-v1").budget = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        PRESETS["CartPole-v1"] = Preset()  # type: ignore[index]


@pytest.mark.parametrize("env_id", [env_id for env_id in PRESETS if env_id in gymnasium.registry or "Adroit" in env_id])
def test_every_preset_names_an_environment_that_can_be_trained_on(env_id: str) -> None:
    environment_spaces(env_id)
