"""What makes a training stop before it learns from a number that is NaN or infinite."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from agents.ppo.sequence_buffer import SequenceRolloutBuffer
from envs.vectorized.finite import NotFinite, all_finite

REMEDIES = "a smaller `{step_size}` or `max_grad_norm`, or `activation` tanh, may help"
PPO_REMEDIES = REMEDIES.format(step_size="learning_rate")


def check_rollout(buffer: SequenceRolloutBuffer) -> None:
    """Refuse a rollout whose values, log probabilities or advantages are not all finite.

    :raises NotFinite: naming the quantity, the environment and the step of the rollout
    """
    quantities = {"value estimate": buffer.values, "log probability": buffer.log_probs, "advantage": buffer.advantages}
    for name, array in quantities.items():
        if not all_finite(array):
            step, environment = (int(i) for i in np.argwhere(~np.isfinite(array))[0][:2])
            raise NotFinite(
                f"the {name} of environment {environment} at step {step} of the rollout is {array[step, environment]}: "
                f"the networks' state has exploded, or rewards are too large; {PPO_REMEDIES}"
            )


def check_gradient(
    loss: Tensor,
    gradient_norm: Tensor,
    terms: dict[str, Tensor],
    parameters: Iterable[tuple[str, nn.Parameter]],
    step_size: str,
) -> None:
    """Refuse a loss or a gradient that is not finite; to be called before the optimizer's step.

    :param gradient_norm: of all parameters together, so that the usual case costs two numbers
    :param terms: of the loss, by name
    :param parameters: by name, looked through only to say where it is
    :param step_size: the field that sets it
    :raises NotFinite: naming the term of the loss and the block of weights
    """
    if math.isfinite(loss.item()) and math.isfinite(gradient_norm.item()):
        return
    bad_terms = [name for name, value in terms.items() if not math.isfinite(value.item())]
    bad_blocks = []
    for name, parameter in parameters:
        if parameter.grad is not None and not (finite := torch.isfinite(parameter.grad)).all():
            bad_blocks.append(f"{name} ({int((~finite).sum())} of {parameter.numel()} entries)")
    found = []
    if bad_terms:
        found.append(f"the loss is not finite (in {', '.join(bad_terms)})")
    if bad_blocks:
        found.append(
            f"the gradient is not finite (in {', '.join(bad_blocks[:3])}{' and more' * (len(bad_blocks) > 3)})"
        )
    raise NotFinite(
        f"{' and '.join(found) or 'the norm of the gradient is infinite'}: {REMEDIES.format(step_size=step_size)}"
    )


def explain_failed_step(algorithm: Any, error: Exception) -> None:
    """Raise `NotFinite` if a policy could not act because its outputs are not finite; return if that is not why.

    Sampling from a categorical distribution raises by itself, without saying why.
    """
    with torch.no_grad():
        observations = torch.as_tensor(algorithm._last_obs, device=algorithm.device)
        starts = torch.as_tensor(algorithm._last_episode_starts, dtype=torch.float32, device=algorithm.device)
        outputs, _ = algorithm.policy.step_actor(observations, algorithm._last_lstm_states.pi, starts)
    rows = outputs.reshape(len(outputs), -1)
    bad = (~torch.isfinite(rows)).any(dim=1)
    if bad.any():
        raise NotFinite(
            f"the policy's output for environment {int(bad.nonzero()[0, 0])} is not finite: "
            f"its state has exploded; {PPO_REMEDIES}"
        ) from error
