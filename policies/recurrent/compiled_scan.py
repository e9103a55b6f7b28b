"""The scan on the CPU: compiled kernels, several layers at once on a few threads.

Work is cut into jobs by its shape alone, every job writes its own part of the results and no sum is shared between
jobs, so the results are the same bits for any number of threads.
"""

from collections.abc import Sequence
from functools import reduce
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from policies.recurrent import dense, grouped, sparse
from policies.recurrent.arrangement import Inputs, Recurrence
from policies.recurrent.threads import run_chains


class CompiledScan(torch.autograd.Function):
    """The scans of several layers as one differentiable operation.

    `apply(layers, inputs, starts, all_states, n_threads, *tensors)`: one `Recurrence` per layer, inputs (T, B, n_x),
    starts (T, B) bool, and per layer its state (B, n), bias (n,), and the weights of U's and of R's blocks. Returns per
    layer the states (T, B, n), or None if not `all_states`, and, once more, the outputs (T, B, n_y): gradients usually
    come through these alone, and are then not spread over all units.
    """

    @staticmethod
    def forward(
        ctx: Any,
        layers: Sequence[Recurrence],
        inputs: Tensor,
        starts: Tensor,
        all_states: bool,
        n_threads: int | None,
        *tensors: Tensor,
    ) -> tuple[Tensor | None, ...]:
        shared = Inputs(inputs.detach(), starts)
        details = iter([tensor.detach() for tensor in tensors])
        chains = []
        for layer in layers:
            state, bias = next(details), next(details)
            weights = [next(details) for _ in (*layer.U.blocks, *layer.R.blocks)]
            chains.append(_scan(layer).forward(layer, shared, state, bias, weights, all_states))
        costs = [_scan(layer).loop_cost(layer, *inputs.shape[:2]) for layer in layers]
        results = run_chains(chains, costs, n_threads)
        ctx.layers, ctx.costs, ctx.n_threads = layers, costs, n_threads
        ctx.saved = [saved for *_, saved in results]
        ctx.set_materialize_grads(False)
        # Only so that autograd notices writes into them.
        ctx.save_for_backward(*(states for states, *_ in results if states is not None))
        return tuple(part for states, outputs, _ in results for part in (states, outputs))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        ctx.saved_tensors  # noqa: B018
        inputs_needed: bool = ctx.needs_input_grad[1]
        pairs = list(zip(grads[::2], grads[1::2], strict=True))
        used = [i for i, pair in enumerate(pairs) if any(grad is not None for grad in pair)]
        chains = [_scan(ctx.layers[i]).backward(ctx.layers[i], ctx.saved[i], *pairs[i], inputs_needed) for i in used]
        results = dict(zip(used, run_chains(chains, [ctx.costs[i] for i in used], ctx.n_threads), strict=True))
        grad_inputs = reduce(torch.add, (result[0] for result in results.values())) if inputs_needed and used else None
        gradients: list[Tensor | None] = []
        for i, layer in enumerate(ctx.layers):
            if i in results:
                _, state, bias, U, R = results[i]
                gradients += [state, bias, *U.split(layer.U.sizes), *R.split(layer.R.sizes)]
            else:
                gradients += [None] * (2 + len(layer.U.blocks) + len(layer.R.blocks))
        return (None, grad_inputs, None, None, None, *gradients)


def _scan(layer: Recurrence) -> ModuleType:
    """Return the module whose `forward`, `backward` and `loop_cost` suit the layer."""
    return {"dense": dense, "csr": sparse, "groups": grouped}[layer.backends[1]]
