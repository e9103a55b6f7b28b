"""Everything that a training's future depends on, taken at the end of an update and given back."""

import random
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from agents.ppo.sequence_ppo import SequencePPO
from envs.vectorized.state import copy_array, generator_state, set_generator_state, set_vec_env_state, vec_env_state
from policies.refusal import Refusal

State = dict[str, Any]
FRESH_SEEDS = 900_000_000
"""Environments whose state cannot be restored are seeded anew below this number, far from all evaluations' seeds."""
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def training_state(algorithm: SequencePPO) -> State:
    """Copy a learner's weights, optimizer, counters, random states, statistics and environments.

    To be called between two updates only: a rollout's steps are not part of it.
    """
    environments = algorithm.get_env()
    assert environments is not None
    return {
        "policy": _policy_state(algorithm),
        "optimizer": _optimizer_state(algorithm),
        "counters": {
            "num_timesteps": algorithm.num_timesteps,
            "n_updates": algorithm._n_updates,
            "episodes": algorithm._episode_num,
            "seconds": (time.time_ns() - algorithm.start_time) / 1e9,
        },
        "random": random_states(algorithm),
        "normalization": _normalization_state(environments),
        "environments": vec_env_state(environments),
        "rollout": {
            "observations": algorithm._last_obs,  # never written to again
            "episode_starts": np.array(algorithm._last_episode_starts),
            "states": [[_array(part) for part in pair] for pair in algorithm._last_lstm_states],
        },
        "episodes": _episode_figures(algorithm),
        "log": pending_log(algorithm.logger),
    }


def set_training_state(algorithm: SequencePPO, state: State) -> bool:
    """Return a learner that was built from the same configuration to a state; its logger must be set.

    :return: whether it goes on exactly. If not, the environments cannot be restored: they begin new episodes
    :raises ValueError: (or another of those that `fitting_checkpoint` turns into it) if the state does not fit
    """
    environments = algorithm.get_env()
    assert environments is not None
    counters = {name: int(state["counters"][name]) for name in ("num_timesteps", "n_updates", "episodes")}
    if min(counters.values()) < 0:
        raise ValueError("a counter is negative")
    with torch.no_grad():
        algorithm.policy.load_state_dict(
            {name: torch.from_numpy(np.array(array)) for name, array in state["policy"].items()}
        )
    _set_optimizer_state(algorithm, state["optimizer"])
    algorithm.num_timesteps, algorithm._n_updates = counters["num_timesteps"], counters["n_updates"]
    algorithm._episode_num = counters["episodes"]
    algorithm.iterations_before = algorithm.num_timesteps // (algorithm.n_envs * algorithm.n_steps)
    _set_normalization_state(environments, state["normalization"])
    _set_episode_figures(algorithm, state["episodes"])
    _set_pending_log(algorithm.logger, state["log"])
    exact = state["environments"] is not None
    _set_rollout(algorithm, environments, state, exact)
    _set_random_states(algorithm, state["random"])
    return exact


def callback_states(callbacks: Iterable[BaseCallback]) -> State:
    """Return the states of those callbacks that have any, by the names of their classes."""
    return {type(callback).__name__: callback.get_state() for callback in callbacks if hasattr(callback, "get_state")}


def set_callback_states(callbacks: Iterable[BaseCallback], states: State) -> None:
    """Return callbacks to their states."""
    for callback in callbacks:
        if hasattr(callback, "set_state"):
            callback.set_state(states[type(callback).__name__])


@contextmanager
def fitting_checkpoint() -> Iterator[None]:
    """Turn whatever the tables of a checkpoint lack or hold too much of into one ValueError: they come from a file."""
    try:
        yield
    except OSError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RuntimeError) as error:
        reason = " ".join(f"{type(error).__name__} {error}".split())
        raise Refusal(f"the checkpoint does not fit this run: {reason}") from error


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()


def _policy_state(algorithm: SequencePPO) -> State:
    # The patterns, which are buffers, take more room than the weights and never change: they are not copied.
    learned = dict(algorithm.policy.named_parameters())
    return {
        name: _array(tensor) if name in learned else tensor.cpu().numpy()
        for name, tensor in algorithm.policy.state_dict().items()
    }


def _optimizer_state(algorithm: SequencePPO) -> State:
    moments = algorithm.policy.optimizer.state
    return {
        name: {key: _array(moments[parameter][key]) for key in _MOMENTS}
        for name, parameter in algorithm.policy.named_parameters()
        if moments.get(parameter)
    }


def _set_optimizer_state(algorithm: SequencePPO, state: State) -> None:
    parameters = dict(algorithm.policy.named_parameters())
    moments = algorithm.policy.optimizer.state
    moments.clear()
    for name, arrays in state.items():
        parameter = parameters[name]
        for key in _MOMENTS:
            shape = () if key == "step" else tuple(parameter.shape)
            if arrays[key].shape != shape or arrays[key].dtype.kind != "f":
                raise ValueError(f"{key} of {name} has shape {arrays[key].shape}, {shape} is needed")
        moments[parameter] = {
            key: torch.tensor(arrays[key], dtype=None if key == "step" else parameter.dtype, device=parameter.device)
            for key in _MOMENTS
        }


def random_states(algorithm: SequencePPO) -> State:
    """Return the states of every generator that a training draws from, but for the environments'."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 what others may draw from
    state: State = {
        "python": {"version": version, "words": np.array(words, dtype=np.uint32), "gauss": gauss},
        "numpy": {"name": name, "keys": keys, "position": position, "has_gauss": has_gauss, "cached": cached},
        "torch": torch.get_rng_state().numpy().copy(),
        "minibatches": generator_state(algorithm.minibatch_generator),
        "cuda": [],
    }
    if algorithm.device.type == "cuda":
        state["cuda"] = [one.numpy().copy() for one in torch.cuda.get_rng_state_all()]
    return state


def _set_random_states(algorithm: SequencePPO, state: State) -> None:
    python, numpy = state["python"], state["numpy"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    np.random.set_state(  # noqa: NPY002
        (numpy["name"], numpy["keys"], int(numpy["position"]), int(numpy["has_gauss"]), float(numpy["cached"]))
    )
    torch.set_rng_state(torch.from_numpy(np.array(state["torch"])))
    set_generator_state(algorithm.minibatch_generator, state["minibatches"])
    if algorithm.device.type == "cuda" and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([torch.from_numpy(np.array(one)) for one in state["cuda"]])


def _normalization_state(environments: VecEnv) -> State | None:
    if not isinstance(environments, VecNormalize):
        return None
    return {
        "observation": _statistics(environments.obs_rms) if environments.norm_obs else None,
        "reward": _statistics(environments.ret_rms),
        "returns": environments.returns.copy(),
    }


def _set_normalization_state(environments: VecEnv, state: State | None) -> None:
    if (state is not None) != isinstance(environments, VecNormalize):
        raise ValueError("normalization does not fit")
    if state is None:
        return
    if environments.norm_obs:
        _set_statistics(environments.obs_rms, state["observation"])
    _set_statistics(environments.ret_rms, state["reward"])
    environments.returns = environments.returns.astype(np.float64)
    copy_array(state["returns"], environments.returns)


def _statistics(statistics: RunningMeanStd) -> State:
    return {"mean": np.array(statistics.mean), "var": np.array(statistics.var), "count": float(statistics.count)}


def _set_statistics(statistics: RunningMeanStd, state: State) -> None:
    mean, variance = np.empty_like(statistics.mean), np.empty_like(statistics.var)
    copy_array(state["mean"], mean)
    copy_array(state["var"], variance)
    statistics.mean, statistics.var, statistics.count = mean, variance, float(state["count"])


def _set_rollout(algorithm: SequencePPO, environments: VecEnv, state: State, exact: bool) -> None:
    rollout = state["rollout"]
    n = environments.num_envs
    pairs = []
    for old_pair, pair in zip(algorithm._last_lstm_states, rollout["states"], strict=True):
        for old, new in zip(old_pair, pair, strict=True):
            if tuple(old.shape) != new.shape:
                raise ValueError(f"a recurrent state has shape {new.shape}, {tuple(old.shape)} is needed")
        pairs.append(tuple(torch.tensor(new, dtype=old_pair[0].dtype, device=algorithm.device) for new in pair))
    algorithm._last_lstm_states = RNNStates(*pairs)
    if exact:
        set_vec_env_state(environments, state["environments"])
        observations = np.empty((n, *environments.observation_space.shape), environments.observation_space.dtype)
        copy_array(rollout["observations"], observations)
        starts = np.empty(n, dtype=bool)
        copy_array(rollout["episode_starts"].astype(bool), starts)
        algorithm._last_obs, algorithm._last_episode_starts = observations, starts
    else:
        # Not the seeds of the first start, whose episodes have been played.
        fresh = np.random.SeedSequence([algorithm.seed or 0, algorithm.num_timesteps])
        environments.seed(int(fresh.generate_state(1)[0]) % FRESH_SEEDS)
        algorithm._last_obs, algorithm._last_episode_starts = environments.reset(), np.ones(n, dtype=bool)


def _episode_figures(algorithm: SequencePPO) -> State:
    episodes = algorithm.ep_info_buffer or []
    # As arrays, which keep the type of their numbers: it shows in the rounding of their mean.
    return {
        **{key: np.array([episode[key] for episode in episodes]) for key in ("r", "l", "t")},
        "successes": np.array(algorithm.ep_success_buffer or [], dtype=bool),
    }


def _set_episode_figures(algorithm: SequencePPO, state: State) -> None:
    window = algorithm._stats_window_size
    episodes = [dict(zip("rlt", one, strict=True)) for one in zip(*(state[key] for key in "rlt"), strict=True)]
    algorithm.ep_info_buffer = deque(episodes, maxlen=window)
    algorithm.ep_success_buffer = deque(state["successes"], maxlen=window)


def pending_log(logger: Logger) -> State:
    """Return what was recorded since the last row of the log; pictures are not kept."""
    return {
        name: {
            "value": value if isinstance(value, str) else np.array(value),
            "count": logger.name_to_count.get(name, 0),
            "excluded": list(logger.name_to_excluded[name]),
        }
        for name, value in logger.name_to_value.items()
        if isinstance(value, str | int | float | np.number)
    }


def _set_pending_log(logger: Logger, state: State) -> None:
    for name, entry in state.items():
        value = entry["value"]
        logger.name_to_value[name] = value[()] if isinstance(value, np.ndarray) else value
        logger.name_to_excluded[name] = tuple(entry["excluded"])
        if entry["count"]:
            logger.name_to_count[name] = int(entry["count"])
