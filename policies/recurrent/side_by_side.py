"""Computations that share nothing, differentiated at the same time on worker threads."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from policies.recurrent.threads import Chain, Result, run_chains

Computation = Callable[[], Tensor]


def side_by_side(computations: Sequence[Computation], parameters: Sequence[Sequence[Tensor]]) -> tuple[Tensor, ...]:
    """Return what computations on the CPU return, each run on a thread of its own, and so is its backward pass.

    For many small operations after each other, which one core alone can work on. Values and gradients are, bit by bit,
    those of one computation after another on one torch thread.

    :param parameters: of each computation, the leaf tensors that gradients are wanted of
    """
    if torch.is_grad_enabled():
        return _SideBySide.apply(computations, parameters, *(tensor for group in parameters for tensor in group))
    return tuple(_together([partial(_recorded, False, computation) for computation in computations]))


class _SideBySide(torch.autograd.Function):
    """`apply(computations, parameters, *all parameters)`."""

    @staticmethod
    def forward(
        ctx: Any, computations: Sequence[Computation], parameters: Sequence[Sequence[Tensor]], *_: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.results = _together([partial(_recorded, True, computation) for computation in computations])
        ctx.parameters = parameters
        ctx.set_materialize_grads(False)
        return tuple(result.detach() for result in ctx.results)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        jobs = [
            partial(torch.autograd.grad, result, group, grad, retain_graph=True)  # until the context goes
            for result, group, grad in zip(ctx.results, ctx.parameters, grads, strict=True)
            if grad is not None
        ]
        found = iter(_together(jobs))
        gradients: list[Tensor | None] = []
        for group, grad in zip(ctx.parameters, grads, strict=True):
            gradients += [None] * len(group) if grad is None else next(found)
        return (None, None, *gradients)


def _recorded(record: bool, computation: Computation) -> Tensor:
    with torch.set_grad_enabled(record):  # which is a matter of each thread
        return computation()


def _together(jobs: Sequence[Callable[[], Result]]) -> list[Result]:
    return run_chains([_alone(job) for job in jobs], [1] * len(jobs))


def _alone(job: Callable[[], Result]) -> Chain[Result]:
    """Return a chain without jobs for others: what a generator does itself runs on a worker too."""
    yield ()
    return job()
