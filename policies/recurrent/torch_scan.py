"""The recurrence z_t = act(U x_t + b + R z_{t-1}) over whole sequences, with a hand-written backward pass.

Everything that is not recurrent happens outside the loop over time, in one product over all (time x batch) rows. This
is the plain form in torch operations: it runs on every device and is what the compiled kernels are tested against.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from policies.recurrent.arrangement import Recurrence
from policies.recurrent.block_matrix import DenseValues, SparseValues

BACKENDS: dict[str, type[DenseValues] | type[SparseValues]] = {
    "dense": DenseValues,
    "csr": SparseValues,
    "groups": SparseValues,
}


class TorchScan(torch.autograd.Function):
    """The scan in torch operations, batch as columns.

    `apply(layer, starts, inputs, state, bias, input_weights, recurrent_weights)`: starts (T, B) bool or None, inputs
    (T, B, n_x), state (B, n), bias (n,), the weights of U and R in the order of their blocks. Returns the states
    (T, B, n).
    """

    @staticmethod
    def forward(
        ctx: Any,
        layer: Recurrence,
        starts: Tensor | None,
        inputs: Tensor,
        state: Tensor,
        bias: Tensor,
        input_weights: Tensor,
        recurrent_weights: Tensor,
    ) -> Tensor:
        T, B, n_x = inputs.shape
        U = BACKENDS[layer.backends[0]](layer.U, input_weights)
        R = BACKENDS[layer.backends[1]](layer.R, recurrent_weights)
        keep = None if starts is None else (~starts).to(inputs.dtype)
        x = inputs.permute(2, 0, 1).reshape(n_x, T * B)
        states = (U.multiply(x) + bias[:, None]).view(-1, T, B).transpose(0, 1).contiguous()
        previous = state.t()
        for t in range(T):
            states[t] += R.multiply((previous if keep is None else previous * keep[t]).contiguous())
            hidden = states[t, : layer.n_hidden]
            hidden.relu_() if layer.relu else hidden.tanh_()
            previous = states[t]
        ctx.save_for_backward(states, state, x)
        ctx.layer, ctx.U, ctx.R, ctx.keep = layer, U, R, keep
        return states.transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        states, state, x = ctx.saved_tensors
        U, R, keep, n_hidden = ctx.U, ctx.R, ctx.keep, ctx.layer.n_hidden
        T, n, B = states.shape
        deltas = grads[0].transpose(1, 2).contiguous().clone()
        through = torch.zeros_like(state.t())
        for t in reversed(range(T)):
            deltas[t] += through
            hidden = states[t, :n_hidden]
            if ctx.layer.relu:
                deltas[t, :n_hidden].masked_fill_(hidden <= 0, 0.0)
            else:
                deltas[t, :n_hidden] *= 1 - hidden * hidden
            through = R.multiply_transposed(deltas[t])
            if keep is not None:
                through = through * keep[t]
        previous = torch.cat((state.t()[None], states[:-1]))
        if keep is not None:
            previous = previous * keep[:, None]
        left = deltas.transpose(0, 1).reshape(n, T * B)
        grad_inputs = grad_U = grad_R = None
        if ctx.needs_input_grad[2]:
            grad_inputs = U.multiply_transposed(left).view(-1, T, B).permute(1, 2, 0)
        if ctx.needs_input_grad[5]:
            grad_U = U.gradient(left, x)
        if ctx.needs_input_grad[6]:
            grad_R = R.gradient(left, previous.transpose(0, 1).reshape(n, T * B))
        return None, None, grad_inputs, through.t(), left.sum(1), grad_U, grad_R
