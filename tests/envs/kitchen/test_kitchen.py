"""The kitchen counts what is done; an episode succeeds when all of it is."""

import importlib
from typing import Any

import numpy as np
import pytest

from envs.lookup import make_environment
from envs.refusal import Refusal

ENV = "FrankaKitchen-v1"


@pytest.mark.parametrize("removed", [True, False])
def test_success_is_all_tasks_done(removed: bool) -> None:
    arguments = {"tasks_to_complete": ["microwave", "slide cabinet"], "remove_task_when_completed": removed}
    environment = make_environment(ENV, arguments)
    kitchen: Any = environment.unwrapped
    goals = importlib.import_module("gymnasium_robotics.envs.franka_kitchen.kitchen_env")
    still = np.zeros(9)
    for _ in range(2):  # what was done in one episode is not done in the next
        environment.reset(seed=0)
        *_, info = environment.step(still)
        assert (info["tasks_done"], info["is_success"]) == (0, False)
        for done, task in enumerate(arguments["tasks_to_complete"], 1):
            kitchen.data.qpos[goals.OBS_ELEMENT_INDICES[task]] = goals.OBS_ELEMENT_GOALS[task]
            _, reward, terminated, _, info = environment.step(still)
            assert reward >= 1
            assert (info["tasks_done"], info["is_success"], terminated) == (done, done == 2, done == 2)
    environment.close()


def test_arguments_are_the_registered_ones() -> None:
    with pytest.raises(Refusal, match="The task oven cannot be found"):
        make_environment(ENV, {"tasks_to_complete": ["oven"]})
    with pytest.raises(Refusal, match="unexpected keyword argument 'colour'"):
        make_environment(ENV, {"colour": "red"})
