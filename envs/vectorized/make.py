"""Many environments stepped together: in threads, one after the other, in processes, or as one batch."""

import copy
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

from envs.contract import close
from envs.flattening import is_flat
from envs.lookup import check_environment, creator_of, make_from_spec
from envs.refusal import Refusal
from envs.task import task_of, with_split
from envs.vectorized.batch import CheckedBatch
from envs.vectorized.processes import ProcessVecEnv
from envs.vectorized.threads import ThreadVecEnv
from envs.wrapping import WRAPPERS

VECTORIZATIONS = ("threads", "serial", "processes", "batched")


def make_vec_env(
    env_id: str,
    *,
    arguments: Mapping[str, Any] | None = None,
    n_envs: int,
    seed: int,
    vectorization: str = "serial",
    training: bool,
    n_threads: int | None = None,
    wrappers: Sequence[str] = (),
) -> VecEnv:
    """Make a VecEnv of float32 observations, not normalized; environment i is seeded with seed + i at the first reset.

    The info of every episode's last step carries `episode` (return `r`, length `l`, seconds `t`) and, where the
    environment defines success, `is_success`.

    An environment class may bring a VecEnv of its own, as `batched`, a function (or class) called with `n_envs` and the
    environment's arguments by name; it is used by `vectorization="batched"`.

    :param env_id: a registered id
    :param arguments: of each environment; where the task has splits and none is given, `split` is `train` for training
        and `validation` otherwise
    :param vectorization: `threads` (for a step that releases the GIL, as MuJoCo's), `serial`, `processes` (for a slow
        step in Python) or `batched`
    :param n_threads: of `threads`; default: one per usable core. Results do not depend on it
    :param wrappers: around each environment; see `envs.wrapping`. A batch takes none: it is stepped serially then
    :raises Refusal: if the environment cannot be made, or has no batched version
    """
    if vectorization not in VECTORIZATIONS:
        raise Refusal(f"vectorization {vectorization!r} is unknown: one of {', '.join(VECTORIZATIONS)} is needed")
    spec = gymnasium.spec(check_environment(env_id, allow_module=False))
    arguments = with_split(env_id, arguments or {}, "train" if training else "validation")
    if vectorization == "batched" and wrappers:
        vectorization = "serial"
    make_one = functools.partial(make_from_spec, spec, task_of(env_id), arguments, WRAPPERS.find_all(wrappers))
    if vectorization == "batched":
        environments = _make_batched(spec, arguments, n_envs)
    elif vectorization == "processes":
        close(make_one())  # what does not fit is said here, in one line, and not by a process that ends
        environments = ProcessVecEnv(make_one, n_envs)
    else:
        environments = ThreadVecEnv([make_one] * n_envs, n_threads=1 if vectorization == "serial" else n_threads)
    environments.seed(seed)
    return environments


def _make_batched(spec: EnvSpec, arguments: Mapping[str, Any], n_envs: int) -> VecEnv:
    factory = getattr(creator_of(spec), "batched", None)
    if factory is None:
        raise Refusal(f"vectorization 'batched' does not fit {spec.id}: it has no batched version, use serial")
    close(make_from_spec(spec, task_of(spec.id), arguments))  # refuses what does not fit, in one line
    try:
        batch = factory(n_envs=n_envs, **copy.deepcopy(spec.kwargs | dict(arguments)))
    except TypeError as error:
        raise Refusal(f"`env_arguments` does not fit the batched version of {spec.id}: {error}") from error
    if not is_flat(batch.observation_space):
        raise Refusal(
            f"vectorization 'batched' does not fit {spec.id}: the observations of its batched version are "
            f"{batch.observation_space}, a flat Box of floats is needed, use serial"
        )
    return VecMonitor(CheckedBatch(batch))
