"""An episode that is cut has ended."""

from typing import Any

import numpy as np
import pytest

from envs.lookup import LIMIT
from envs.vectorized.cuts import EndingCuts
from envs.vectorized.make import make_vec_env

VECTORIZATIONS = ("serial", "threads", "processes")


def last_infos(vectorization: str, wrappers: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the infos of the steps in which episodes of 10 steps end, in twenty steps of three environments."""
    environments = EndingCuts(
        make_vec_env(
            "Pendulum-v1",
            arguments={LIMIT: 10},
            n_envs=3,
            seed=0,
            vectorization=vectorization,
            training=True,
            wrappers=wrappers,
        )
    )
    try:
        environments.reset()
        found = []
        for _ in range(20):
            _, _, dones, infos = environments.step(np.zeros((3, 1), np.float32))
            found += [info for done, info in zip(dones, infos, strict=True) if done]
        return found
    finally:
        environments.close()


@pytest.mark.parametrize("vectorization", VECTORIZATIONS)
@pytest.mark.parametrize(("wrappers", "length"), [((), 10), (("gymnasium.wrappers:MaxAndSkipObservation:skip=2",), 5)])
def test_what_is_cut_has_ended(wrappers: tuple[str, ...], length: int, vectorization: str) -> None:
    infos = last_infos(vectorization, wrappers)
    assert [info["episode"]["l"] for info in infos] == [length] * (3 * (20 // length))
    assert not any(info["TimeLimit.truncated"] for info in infos)
    assert all(info["terminal_observation"].shape == (3,) for info in infos)
