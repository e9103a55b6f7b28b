"""Every id of Gymnasium and Gymnasium-Robotics at the pinned versions: made, reset and stepped, or refused with a cure.

What cannot be made needs a package that is not among ours, or an older MuJoCo. Where it is installed nevertheless, the
ids that need it have to work, too.
"""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import gymnasium
import mujoco
import pytest
from data_files import ROOT

from envs.cures import cure
from envs.lookup import check_environment, make_environment
from policies.refusal import Refusal

NEEDS = {
    "mujoco_py": r"(Fetch.*-v1|Hand.*-v0|(Ant|HalfCheetah|Hopper|Humanoid|Swimmer|Walker2d)-v[23]"
    r"|(HumanoidStandup|InvertedDoublePendulum|InvertedPendulum|Pusher|Reacher)-v2)",
    "Box2D": r"(BipedalWalker|BipedalWalkerHardcore|CarRacing|LunarLander|LunarLanderContinuous)-v3",
    "jax": r"(phys2d|tabular)/.*",
    "shimmy": r"GymV2[16]Environment-v0",
    "mujoco<3": r"Pusher-v4",
}
"""What is missing -> the ids that need it."""
CURES = {
    "mujoco_py": r"cannot be made, \S+-v[1-5] can: ",
    "Box2D": r'cannot be made without pip install "gymnasium\[box2d\]": ',
    "jax": r'cannot be made.* without pip install "gymnasium\[jax\]": ',
    "shimmy": r"run 'pip install \"shimmy\[gym-v21\]\"'",
    "mujoco<3": r"cannot be made, Pusher-v5 can: ",
}


def is_here(needed: str) -> bool:
    return mujoco.__version__.startswith("2.") if needed == "mujoco<3" else find_spec(needed) is not None


def theirs() -> list[str]:
    check_environment("CartPole-v1")  # which imports Gymnasium-Robotics
    return [
        env_id
        for env_id, spec in gymnasium.registry.items()
        if isinstance(spec.entry_point, str) and spec.entry_point.startswith(("gymnasium.", "gymnasium_robotics."))
    ] + ["GymV21Environment-v0", "GymV26Environment-v0"]


def test_every_id_is_made_reset_and_stepped_or_refused_with_a_cure() -> None:
    """Each id works, but for those that need what is not here; each of their lines says what helps."""
    failed: dict[str, str] = {}
    ids = theirs()
    for env_id in ids:
        try:
            environment = make_environment(env_id)
        except Refusal as refusal:
            failed[env_id] = str(refusal)
        else:
            environment.reset(seed=0)
            environment.action_space.seed(0)
            environment.step(environment.action_space.sample())
            environment.close()
    expected = {
        env_id: needed
        for needed, pattern in NEEDS.items()
        if not is_here(needed)
        for env_id in ids
        if re.fullmatch(pattern, env_id)
    }
    assert failed.keys() == expected.keys()
    assert len(ids) - len(failed) >= 185
    for env_id, line in failed.items():
        assert line.startswith(f"env {env_id} cannot be made")
        assert re.search(CURES[expected[env_id]], line), line
        assert "\n" not in line


def test_assertion_of_robotics_names_the_newest_mujoco_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a newer MuJoCo the same assertion fails as with a wrong type of joint."""
    spec = gymnasium.spec(check_environment("FetchReach-v4"))
    check_types = sys.modules["gymnasium_robotics.utils.mujoco_utils"].set_joint_qpos
    environment = make_environment("FetchReach-v4").unwrapped
    model = environment.model  # type: ignore[attr-defined]
    name = mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_JOINT, 0)
    model.jnt_type[0] = 99
    with pytest.raises(AssertionError) as caught:
        check_types(model, environment.data, name, 0.0)  # type: ignore[attr-defined]
    assert cure(spec, caught.value) == ""
    monkeypatch.setattr("envs.cures.version", lambda _: "4.0.0")
    assert cure(spec, caught.value) == ' with mujoco 4.0.0, pip install "mujoco<3.12" mends it'
    assert cure(spec, AssertionError("of somebody else's")) == ""
    # An older version of the same names the newest one, which that MuJoCo keeps from being made as well.
    monkeypatch.setattr("gymnasium.make", lambda *_, **__: check_types(model, environment.data, name, 0.0))
    if not is_here("mujoco_py"):
        with pytest.raises(gymnasium.error.DependencyNotInstalled) as missing:
            gymnasium.envs.registration.make("FetchReach-v1")
        said = cure(gymnasium.spec("FetchReach-v1"), missing.value)
        assert said == ', nor can FetchReach-v4 with mujoco 4.0.0, pip install "mujoco<3.12" mends it'


def test_train_says_the_cure_in_one_line(tmp_path: Path) -> None:
    """As a user meets it."""
    if is_here("mujoco_py"):
        pytest.skip("mujoco_py is installed")
    command = [sys.executable, str(ROOT / "train.py"), "--env", "FetchPickAndPlace-v1"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith("error: --env FetchPickAndPlace-v1 cannot be made, FetchPickAndPlace-v4 can: ")
    assert [*tmp_path.iterdir()] == []


def test_own_environments_that_miss_a_module_are_no_business_of_gymnasium(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's environment that needs jax does not need Gymnasium's extra."""

    def create() -> gymnasium.Env:
        raise ModuleNotFoundError("No module named 'jax'", name="jax")

    gymnasium.register("NeedsJax-v0", create)
    try:
        with pytest.raises(Refusal, match="env NeedsJax-v0 cannot be made: ModuleNotFoundError: No module named 'jax'"):
            make_environment("NeedsJax-v0")
        # A newer version of the user's own helps as well.
        gymnasium.register("NeedsJax-v1", "gymnasium.envs.classic_control:CartPoleEnv")
        with pytest.raises(Refusal, match="env NeedsJax-v0 cannot be made, NeedsJax-v1 can: "):
            make_environment("NeedsJax-v0")
    finally:
        for env_id in ("NeedsJax-v0", "NeedsJax-v1"):
            gymnasium.registry.pop(env_id, None)
