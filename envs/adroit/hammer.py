"""AdroitHandHammer-v1 with a success count, the corrected reward, and a step that spends its time in the simulator."""

import math
from typing import Any

import mujoco
import numpy as np

from envs.adroit.correction import CORRECTION, Correctable
from envs.adroit.robotics import AdroitHandHammerEnv

SUCCESS_STEPS = 25
"""An episode succeeds when the nail is in for more steps than this (of 200), as DAPG's and D4RL's evaluations count."""
LIFTED_HEIGHT = 0.04
"""Height in metres above which hammer and hammer head count as lifted, as in the registered reward."""


class HammerEnv(Correctable, AdroitHandHammerEnv):
    """The registered hammer task: same spaces, physics and (up to rounding) observations and rewards.

    Every step's `info` holds figures of the episode so far, so that the last step's are the episode's:

    - `success`: bool, the nail is in (within 0.01 m) at this step, as registered
    - `is_success`: bool, the nail has been in for more than 25 steps
    - `lifted`: share of the steps with hammer and hammer head above 0.04 m
    - `registered_reward`: only with the corrected reward

    The parent's step spends 54 µs outside the simulator, holding the interpreter lock, on single quaternions in array
    functions and look-ups by name; this one 10 µs, which is what lets threads step environments side by side. It also
    leaves out mj_rnePostConstraint, which changes neither the state nor what is observed.

    The parameters are those of `Correctable`.
    """

    def __init__(self, reward: str = "registered", reward_type: str = "dense", **kwargs: Any) -> None:
        super().__init__(reward, reward_type, **kwargs)
        self._steps = self._steps_in = self._steps_lifted = 0

        # Views of the simulator's memory: they stay valid as long as `data`, and reading them costs no look-up.
        data = self.data
        self._arm_qpos, self._object_qvel = data.qpos[:-6], data.qvel[-6:]
        self._qvel, self._ctrl = data.qvel, data.ctrl
        self._hammer, self._hammer_quat = data.xpos[self.obj_body_id], data.xquat[self.obj_body_id]
        self._palm, self._head = data.site_xpos[self.S_grasp_site_id], data.site_xpos[self.tool_site_id]
        self._nail, self._goal = data.site_xpos[self.target_obj_site_id], data.site_xpos[self.goal_site_id]
        sensor = self._model_names.sensor_name2id["S_nail"]
        self._impact = data.sensordata[sensor : sensor + 1]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        self._steps = self._steps_in = self._steps_lifted = 0
        return super().reset(seed=seed, options=options)

    def step(self, a: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Simulate 0.01 s.

        :param a: (26,) targets of the actuators, clipped to [-1, 1]
        :return: observation (46,) float64, reward, False, False, info
        """
        a = np.minimum(np.maximum(a, -1.0), 1.0)
        np.multiply(a, self.act_rng, out=self._ctrl)
        np.add(self._ctrl, self.act_mean, out=self._ctrl)
        mujoco.mj_step(self.model, self.data, nstep=self.frame_skip)

        palm, hammer = self._palm.tolist(), self._hammer.tolist()
        head, nail = self._head.tolist(), self._nail.tolist()
        nail_distance = math.dist(nail, self._goal.tolist())
        nail_in = nail_distance < 0.01
        lifted = hammer[2] > LIFTED_HEIGHT and head[2] > LIFTED_HEIGHT
        self._steps += 1
        self._steps_in += nail_in
        self._steps_lifted += lifted
        info = {
            "success": nail_in,
            "is_success": self._steps_in > SUCCESS_STEPS,
            "lifted": self._steps_lifted / self._steps,
        }

        if self.sparse_reward:
            reward = 10.0 if nail_in else -0.1
        else:
            hand_distance = math.dist(palm, hammer)
            speed = math.sqrt(self._qvel.dot(self._qvel))
            reward = 0.1 * hand_distance - math.dist(head, nail) - 10.0 * nail_distance - 0.01 * speed
            if lifted:
                reward += 2.0
            if nail_distance < 0.02:
                reward += 25.0
            if nail_in:
                reward += 75.0
            if self.corrected:
                info["registered_reward"] = reward
                reward += CORRECTION * hand_distance

        if self.render_mode == "human":
            self.render()
        return self._observe(palm, hammer, nail), reward, False, False, info

    def _get_obs(self) -> np.ndarray:
        return self._observe(self._palm.tolist(), self._hammer.tolist(), self._nail.tolist())

    def _observe(self, palm: list[float], hammer: list[float], nail: list[float]) -> np.ndarray:
        impact = min(max(self._impact.item(), -1.0), 1.0)
        velocity = [min(max(entry, -1.0), 1.0) for entry in self._object_qvel.tolist()]
        observation = np.empty(46)
        observation[:27] = self._arm_qpos
        observation[27:] = [*velocity, *palm, *hammer, *euler_angles(*self._hammer_quat.tolist()), *nail, impact]
        return observation


def euler_angles(w: float, x: float, y: float, z: float) -> tuple[float, float, float]:
    """Return the angles (radians) about x, y and z of a rotation given as a quaternion of any positive length.

    The convention is that of gymnasium_robotics.utils.rotations.quat2euler, at the poles too; scalars are ten times as
    fast here as arrays of one.
    """
    scale = 2.0 / (w * w + x * x + y * y + z * z)
    m00, m01 = 1.0 - (y * y + z * z) * scale, (x * y - w * z) * scale
    m10, m11 = (x * y + w * z) * scale, 1.0 - (x * x + z * z) * scale
    m02, m12, m22 = (x * z + w * y) * scale, (y * z - w * x) * scale, 1.0 - (x * x + y * y) * scale
    cos_y = math.sqrt(m22 * m22 + m12 * m12)
    about_y = -math.atan2(-m02, cos_y)
    if cos_y > 8.881784197001252e-16:  # four times the spacing of doubles at 1: above it x and z can be told apart
        return -math.atan2(m12, m22), about_y, -math.atan2(m01, m00)
    return 0.0, about_y, -math.atan2(-m10, m11)
