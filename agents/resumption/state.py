"""Everything that a training's future depends on, taken at the end of an update and given back."""

import random
import time
from collections import deque
from typing import Any

import numpy as np
import torch
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from agents.ppo.sequence_ppo import SequencePPO
from agents.runs.folder import package_versions
from envs.vectorized.state import set_vec_env_state, vec_env_state
from envs.vectorized.state_tree import StateTree, generator_state, set_generator_state
from policies.network.blocks import BLOCKS
from policies.recurrent.layer import SparseRecurrentLayer
from policies.refusal import Refusal
from policies.streams import say

State = dict[str, Any]
FRESH_SEEDS = 900_000_000
"""Environments whose state cannot be restored are seeded anew below this number, far from all evaluations' seeds."""
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
_MERSENNE_WORDS = 624


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
            "rollouts_without_update": algorithm.rollouts_without_update,
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
        "versions": package_versions(),
    }


def set_training_state(algorithm: SequencePPO, tree: StateTree, *, same_environments: bool = True) -> bool:
    """Return a learner that was built from the same configuration to a state; its logger must be set.

    :param same_environments: whether they were made with the same arguments, without which they are not restored
    :return: whether it goes on exactly. If not, the environments cannot be restored: they begin new episodes
    :raises Refusal: if the state does not fit
    """
    environments = algorithm.get_env()
    assert environments is not None
    if "versions" in tree:  # not in the checkpoints of earlier versions
        _compare_versions(tree.table("versions"))
    counters = tree.table("counters")
    _set_policy_state(algorithm, tree.table("policy"))
    _set_optimizer_state(algorithm, tree.table("optimizer"))
    algorithm.num_timesteps, algorithm._n_updates = counters.whole("num_timesteps"), counters.whole("n_updates")
    algorithm._episode_num = counters.whole("episodes")
    if "rollouts_without_update" in counters:  # not in the checkpoints of earlier versions
        algorithm.rollouts_without_update = counters.whole("rollouts_without_update")
    algorithm.iterations_before = algorithm.num_timesteps // (algorithm.n_envs * algorithm.n_steps)
    _set_normalization_state(environments, tree)
    _set_episode_figures(algorithm, tree.table("episodes"))
    _set_pending_log(algorithm.logger, tree.table("log"))
    exact = same_environments and tree.value("environments") is not None
    _set_rollout(algorithm, environments, tree, exact)
    _set_random_states(algorithm, tree.table("random"))
    return exact


def _compare_versions(recorded: StateTree) -> None:
    """Say which packages are of another version than those of the checkpoint: numbers may round differently."""
    here = package_versions()
    other = [f"{name} {recorded.text(name)}" for name in recorded if recorded.text(name) != here.get(name)]
    if other:
        say(f"note: the checkpoint was written with {', '.join(other)}: bits may differ from here on")


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()


def _tensor(tree: StateTree, name: str, like: torch.Tensor) -> torch.Tensor:
    """Return a copy of an array as a tensor of another's shape and type, where that one is."""
    dtype = torch.empty(0, dtype=like.dtype).numpy().dtype
    return torch.from_numpy(tree.array(name, tuple(like.shape), dtype).copy()).to(like.device)


def _policy_state(algorithm: SequencePPO) -> State:
    # The patterns, which are buffers, take more room than the weights: they are not copied. Nothing is written into
    # them, for a pattern that changes is a new tensor.
    learned = dict(algorithm.policy.named_parameters())
    return {
        name: _array(tensor) if name in learned else tensor.cpu().numpy()
        for name, tensor in algorithm.policy.state_dict().items()
    }


def _set_policy_state(algorithm: SequencePPO, tree: StateTree) -> None:
    for name, layer in algorithm.policy.named_modules():
        if isinstance(layer, SparseRecurrentLayer):
            positions = {block: tree.array(f"{name}.positions_{block}", (None,), np.int64) for block in BLOCKS}
            layer.take_counts({block: len(array) for block, array in positions.items()})
    present = algorithm.policy.state_dict()
    for name in tree:
        if name not in present:
            raise Refusal(f"{tree.place} holds {name}, which this network does not have")
    algorithm.policy.load_state_dict({name: _tensor(tree, name, tensor) for name, tensor in present.items()})
    for name, layer in algorithm.policy.named_modules():
        if isinstance(layer, SparseRecurrentLayer):
            try:
                layer.matrices()
            except ValueError as error:  # the patterns, which the matrices check
                raise Refusal(f"{tree.place}.{name}: {error}") from None


def _optimizer_state(algorithm: SequencePPO) -> State:
    moments = algorithm.policy.optimizer.state
    return {
        name: {key: _array(moments[parameter][key]) for key in _MOMENTS}
        for name, parameter in algorithm.policy.named_parameters()
        if moments.get(parameter)
    }


def _set_optimizer_state(algorithm: SequencePPO, tree: StateTree) -> None:
    parameters = dict(algorithm.policy.named_parameters())
    moments = algorithm.policy.optimizer.state
    moments.clear()
    for name in tree:
        if name not in parameters:
            raise Refusal(f"{tree.place} holds {name}, which this network does not have")
        parameter, arrays = parameters[name], tree.table(name)
        step = torch.zeros((), dtype=torch.float32, device=parameter.device)
        moments[parameter] = {key: _tensor(arrays, key, step if key == "step" else parameter) for key in _MOMENTS}


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


def _set_random_states(algorithm: SequencePPO, tree: StateTree) -> None:
    python, numpy, cuda = tree.table("python"), tree.table("numpy"), tree.row("cuda")
    version = random.getstate()[0]
    words = python.array("words", (_MERSENNE_WORDS + 1,), np.uint32).tolist()  # the last one is the position
    if words[-1] > _MERSENNE_WORDS:
        python.refuse("words", "one with its position in the range")
    gauss = None if python.value("gauss") is None else python.number("gauss")
    random.setstate((python.whole("version", version, version), tuple(words), gauss))
    if numpy.text("name") != "MT19937":
        numpy.refuse("name", "MT19937")
    keys, position = numpy.array("keys", (_MERSENNE_WORDS,), np.uint32), numpy.whole("position", most=_MERSENNE_WORDS)
    cached = (numpy.whole("has_gauss", most=1), numpy.number("cached"))
    np.random.set_state(("MT19937", keys, position, *cached))  # noqa: NPY002
    _set_torch_generator(tree, "torch", torch.default_generator)
    set_generator_state(algorithm.minibatch_generator, tree.table("minibatches"))
    if algorithm.device.type == "cuda" and len(cuda) == torch.cuda.device_count():
        for name, generator in zip(cuda, torch.cuda.default_generators, strict=True):
            _set_torch_generator(cuda, name, generator)


def _set_torch_generator(tree: StateTree, name: str, generator: torch.Generator) -> None:
    state = _tensor(tree, name, generator.get_state())
    try:
        generator.set_state(state)
    except RuntimeError:  # torch alone knows what these bytes may be
        tree.refuse(name, "one of a state of torch's generator")


def _normalization_state(environments: VecEnv) -> State | None:
    if not isinstance(environments, VecNormalize):
        return None
    return {
        "observation": _statistics(environments.obs_rms) if environments.norm_obs else None,
        "reward": _statistics(environments.ret_rms),
        "returns": environments.returns.copy(),
    }


def _set_normalization_state(environments: VecEnv, tree: StateTree) -> None:
    if not isinstance(environments, VecNormalize):
        if tree.value("normalization") is not None:
            tree.refuse("normalization", "none")
        return
    state = tree.table("normalization")
    if environments.norm_obs:
        _set_statistics(environments.obs_rms, state.table("observation"))
    _set_statistics(environments.ret_rms, state.table("reward"))
    environments.returns = state.array("returns", environments.returns.shape, np.float64).copy()


def _statistics(statistics: RunningMeanStd) -> State:
    return {"mean": np.array(statistics.mean), "var": np.array(statistics.var), "count": float(statistics.count)}


def _set_statistics(statistics: RunningMeanStd, tree: StateTree) -> None:
    shape = np.shape(statistics.mean)
    statistics.mean, statistics.var = (tree.array(name, shape, np.float64).copy() for name in ("mean", "var"))
    statistics.count = tree.number("count")


def _set_rollout(algorithm: SequencePPO, environments: VecEnv, tree: StateTree, exact: bool) -> None:
    rollout = tree.table("rollout")
    n = environments.num_envs
    before = algorithm._last_lstm_states
    rows = rollout.row("states", len(before))
    pairs = []
    for name, old in zip(rows, before, strict=True):
        pair = rows.row(name, len(old))
        pairs.append(tuple(_tensor(pair, index, part) for index, part in zip(pair, old, strict=True)))
    algorithm._last_lstm_states = RNNStates(*pairs)
    if exact:
        set_vec_env_state(environments, tree.table("environments"))
        space = environments.observation_space
        algorithm._last_obs = rollout.array("observations", (n, *space.shape), space.dtype).copy()
        algorithm._last_episode_starts = rollout.array("episode_starts", (n,), np.bool_).copy()
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


def _set_episode_figures(algorithm: SequencePPO, tree: StateTree) -> None:
    window = algorithm._stats_window_size
    (episodes,) = tree.array("r", (None,)).shape
    figures = zip(*(tree.array(key, (episodes,)) for key in "rlt"), strict=True)
    algorithm.ep_info_buffer = deque((dict(zip("rlt", one, strict=True)) for one in figures), maxlen=window)
    algorithm.ep_success_buffer = deque(tree.array("successes", (None,), np.bool_), maxlen=window)


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


def _set_pending_log(logger: Logger, tree: StateTree) -> None:
    for name in tree:
        entry = tree.table(name)
        value, excluded = entry.value("value"), entry.row("excluded")
        logger.name_to_value[name] = value if isinstance(value, str) else entry.array("value", ())[()]
        logger.name_to_excluded[name] = tuple(excluded.text(index) for index in excluded)
        if count := entry.whole("count"):
            logger.name_to_count[name] = count
