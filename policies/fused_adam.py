"""Adam and the clipping of gradients without what torch wraps around them, bit by bit the same.

For networks of some thousand weights the wrapping costs several times what it wraps: it asks for compilers, profilers
and graphs on a GPU, and sorts tensors by device and type. Its first call also imports torch's compiler, which takes as
long as importing torch.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Adam


class FusedAdam(Adam):
    """torch's fused Adam (Kingma & Ba 2015, arXiv 1412.6980) for parameters of one device and type.

    :param params: to optimize
    :param lr: step size
    :param betas: how much the first and the second moment keep
    :param eps: added to the root of the second moment
    """

    add_param_group = inspect.unwrap(Adam.add_param_group)
    state_dict = inspect.unwrap(Adam.state_dict)
    load_state_dict = inspect.unwrap(Adam.load_state_dict)

    def __init__(
        self,
        params: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(params, lr, betas, eps, fused=True)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop all gradients, whatever `set_to_none` says."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient.

        :param closure: evaluates the loss and takes the gradients, before
        :return: what it returned
        """
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not parameters:
                continue
            states = [self.state[parameter] or self._begin(parameter) for parameter in parameters]
            steps = [state["step"] for state in states]
            torch._foreach_add_(steps, 1)
            torch._fused_adam_(
                parameters,
                [parameter.grad for parameter in parameters],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                steps,
                lr=group["lr"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=0.0,
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )
        return loss

    step.hooked = True  # type: ignore[attr-defined] # keeps torch from wrapping it for profilers

    def _begin(self, parameter: Parameter) -> dict[str, Tensor]:
        state = self.state[parameter]
        state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        return state


@torch.no_grad()
def clip_gradients(parameters: Iterable[Parameter], max_norm: float) -> Tensor:
    """Scale gradients down to a norm of all together, as `torch.nn.utils.clip_grad_norm_` does.

    :param parameters: of one device; those without a gradient do not count
    :param max_norm: what is above is scaled down to it
    :return: the norm before, a scalar; if it is NaN, nothing is scaled
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return torch.zeros(())
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    scale = max_norm / (norm + 1e-6)
    if scale.item() < 1:
        torch._foreach_mul_(gradients, scale)
    return norm
