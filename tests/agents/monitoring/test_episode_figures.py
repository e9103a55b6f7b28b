"""Figures that an environment reports at an episode's end, their mean over the last episodes, and their state."""

import re
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.callbacks import BaseCallback

from agents.monitoring.callbacks import EpisodeFiguresCallback
from envs.vectorized.state_tree import StateTree
from policies.refusal import Refusal


def tell(callback: BaseCallback, dones: list[bool], infos: list[dict[str, Any]]) -> None:
    callback.update_locals({"dones": np.array(dones), "infos": infos})
    callback._on_step()


def test_figures_of_the_last_episodes() -> None:
    callback = EpisodeFiguresCallback(("lifted", "absent"), window=2)
    tell(callback, [True, False], [{"lifted": 0.25, "other": 1}, {"lifted": 0.5}])
    assert callback.get_state() == {"lifted": [0.25], "absent": []}
    tell(callback, [True, True], [{"lifted": 0.75}, {"lifted": 1}])
    assert callback.get_state() == {"lifted": [0.75, 1.0], "absent": []}
    again = EpisodeFiguresCallback(("lifted",))
    again.set_state(callback.get_state())
    assert again.get_state() == {"lifted": [0.75, 1.0]}


@pytest.mark.parametrize(
    ("state", "said"),
    [({}, "callbacks.Figures.lifted is missing"), ({"lifted": [0.5, "x"]}, "Figures.lifted.1 is 'x'")],
)
def test_state_that_does_not_fit(state: dict[str, Any], said: str) -> None:
    tree = StateTree({"callbacks": {"Figures": state}}, "the checkpoint does not fit this run:")
    with pytest.raises(Refusal, match=f"the checkpoint does not fit this run: .*{re.escape(said)}"):
        EpisodeFiguresCallback(("lifted",)).set_state(tree.table("callbacks").value("Figures"))
