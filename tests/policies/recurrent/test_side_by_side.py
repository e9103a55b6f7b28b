"""Computations side by side: the values and gradients of one after another, whatever fails or is left out."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.type_aliases import RNNStates
from torch import Tensor, nn

from policies.gated_policy import GatedPolicy, run_cell
from policies.gru_policy import GruPolicy
from policies.lstm_policy import LstmPolicy
from policies.recurrent.side_by_side import side_by_side
from policies.recurrent.threads import available_cores

T, B, N_X, N_H = 12, 3, 4, 7


@pytest.mark.parametrize("kind", [LstmPolicy, GruPolicy])
def test_both_networks_of_a_policy_are_as_if_run_alone(kind: type[GatedPolicy]) -> None:
    torch.manual_seed(0)
    box, actions = spaces.Box(-np.inf, np.inf, (N_X,), np.float32), spaces.Box(-1, 1, (2,), np.float32)
    policy = kind(box, actions, lambda _: 1e-3, lstm_hidden_size=N_H)
    observations, starts = torch.randn(T, B, N_X), (torch.rand(T, B) < 0.2).float()
    pairs = [(torch.randn(1, B, N_H), torch.randn(1, B, N_H)) for _ in range(2)]
    results = policy.run_sequences(observations, RNNStates(*pairs), starts)
    heads = policy.action_net, lambda latent: policy.value_net(latent).squeeze(-1)
    for cell, pair, head, found in zip((policy.actor, policy.critic), pairs, heads, results, strict=True):
        expected = head(run_cell(cell, observations, pair, starts))
        assert torch.equal(found, expected)
        parameters = list(cell.parameters())
        wanted = torch.autograd.grad(expected.square().sum(), parameters)
        got = torch.autograd.grad(found.square().sum(), parameters, retain_graph=True)
        assert all(torch.equal(a, b) for a, b in zip(wanted, got, strict=True))


def test_gradients_pass_gradcheck() -> None:
    cells = [nn.GRU(N_X, 3).double() for _ in range(2)]
    inputs = torch.randn(5, 2, N_X, dtype=torch.float64)
    groups = [list(cell.parameters()) for cell in cells]

    def run(*_: Tensor) -> tuple[Tensor, ...]:
        return side_by_side([lambda: cells[0](inputs)[0], lambda: cells[1](inputs)[0]], groups)

    assert torch.autograd.gradcheck(run, [tensor for group in groups for tensor in group])


@pytest.mark.skipif(available_cores() < 2, reason="there is one worker for each core")
def test_they_run_at_the_same_time() -> None:
    weight, both = torch.ones(1, requires_grad=True), threading.Barrier(2, timeout=60)

    def meet() -> Tensor:
        both.wait()  # in vain, one after the other
        return weight * 2

    side_by_side([meet, meet], [[weight], [weight]])


def test_without_gradients_nothing_is_recorded() -> None:
    weight = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        (result,) = side_by_side([lambda: weight * 3], [[weight]])
    assert not result.requires_grad
    (result,) = side_by_side([lambda: weight * 3], [[weight]])
    assert result.requires_grad


def test_what_nobody_reads_has_no_gradient() -> None:
    first, second = (torch.ones(2, requires_grad=True) for _ in range(2))
    used, _ = side_by_side([lambda: first * 3, lambda: second * 5], [[first], [second]])
    used.sum().backward()
    assert first.grad is not None
    assert first.grad.tolist() == [3, 3]
    assert second.grad is None


@pytest.mark.parametrize("fails", ["forward", "backward"])
def test_an_error_reaches_the_caller(fails: str) -> None:
    weight = torch.ones(2, requires_grad=True)

    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, given: Tensor) -> Tensor:
            if fails == "forward":
                raise RuntimeError("broken")
            return given * 1

        @staticmethod
        def backward(ctx: object, *grads: Tensor) -> Tensor:
            raise RuntimeError("broken")

    computations: list[Callable[[], Tensor]] = [lambda: weight * 2, lambda: Broken.apply(weight)]
    with pytest.raises(RuntimeError, match="broken"):
        torch.cat(side_by_side(computations, [[weight], [weight]])).sum().backward()
