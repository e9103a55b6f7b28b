"""Whole numbers as people write them, and minibatches that fit where nobody said how large they are."""

import pytest

from agents.command_line import OneLineParser, add_training_options, training_options, whole_number
from agents.configuration import configure, from_yaml
from agents.ppo.sequence_ppo import check_batch_size
from policies.refusal import Refusal


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e5", 10**5), ("2.5e6", 2_500_000), ("1E3", 1000), ("100_000", 10**5), ("12", 12), ("3.0", 3), ("1e23", 10**23)],
)
def test_whole_number_is_taken(text: str, value: int) -> None:
    assert whole_number(text) == value
    parser = OneLineParser()
    add_training_options(parser)
    options = training_options(parser.parse_args(["--env", "CartPole-v1", "--total-timesteps", text]))
    assert configure(**options).total_timesteps == value


@pytest.mark.parametrize("text", ["1e-1", "2.5", "many", "inf", "nan", "1e999999999", "", "1e5x"])
def test_other_numbers_are_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"."):
        whole_number(text or " ")
    parser = OneLineParser()
    add_training_options(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--env", "CartPole-v1", "--total-timesteps", text])
    assert "--total-timesteps: invalid int value" in capsys.readouterr().err


def test_a_word_that_may_stand_for_a_number_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    parser = OneLineParser()
    add_training_options(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--env", "CartPole-v1", "--budget", "automatic"])
    assert "--budget: invalid int or auto value: 'automatic'" in capsys.readouterr().err


def test_whole_number_in_a_file() -> None:
    configuration = from_yaml("env: CartPole-v1\nbudget: 1.0e+5\nlearning_rate: 1.0e+0\n")
    assert (configuration.budget, type(configuration.budget), configuration.learning_rate) == (100_000, int, 1.0)
    with pytest.raises(Refusal, match=r"budget is 2\.5: a whole number"):
        from_yaml("env: CartPole-v1\nbudget: 2.5\n")


@pytest.mark.parametrize("env", ["CartPole-v1", "AdroitHandHammer-v1", "RandomAnomaly-v0", "Pendulum-v1"])
@pytest.mark.parametrize("n_envs", [None, 1, 3, 7, 64])
@pytest.mark.parametrize("n_steps", [None, 1, 2, 100, 5000])
def test_batches_fit_any_rollout(env: str, n_envs: int | None, n_steps: int | None) -> None:
    given = {name: value for name, value in (("n_envs", n_envs), ("n_steps", n_steps)) if value is not None}
    configuration, preset = configure(env, **given), configure(env).batch_size
    batch_size, sequence = configuration.batch_size, configuration.n_steps
    rollout = sequence * configuration.n_envs
    if rollout == 1:
        return  # nothing fits
    check_batch_size(batch_size, sequence, configuration.n_envs)
    if preset % sequence == 0 and preset <= rollout:
        assert batch_size == preset  # as ever
        return
    larger = [size for size in range(batch_size + sequence, preset + 1, sequence) if rollout % size == 0]
    assert (rollout % batch_size, larger) == (0, [])
    assert batch_size <= max(preset, sequence, 2)


def test_batches_that_are_given_are_checked_as_they_are() -> None:
    assert configure("CartPole-v1", n_envs=1, batch_size=256).batch_size == 256
    assert from_yaml("env: CartPole-v1\nn_envs: 1\nn_steps: 100\n").batch_size == 100
