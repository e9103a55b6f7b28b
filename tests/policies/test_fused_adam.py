"""Our Adam and our clipping do what torch's do, bit by bit."""

import copy
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import Parameter

from policies.fused_adam import FusedAdam, clip_gradients

SIZES = (1, 7, 32, 1000)
OPTIONS = {"lr": 3e-2, "betas": (0.8, 0.99), "eps": 1e-5}


def parameters(seed: int = 0) -> list[Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [Parameter(torch.randn(size, generator=generator)) for size in SIZES]


def set_gradients(parameters: Sequence[Parameter], seed: int, scale: float = 1.0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        parameter.grad = scale * torch.randn(parameter.shape, generator=generator)


def assert_equal(ours: Sequence[torch.Tensor], torchs: Sequence[torch.Tensor]) -> None:
    for one, other in zip(ours, torchs, strict=True):
        assert torch.equal(one, other)


def test_steps_and_state_are_those_of_torch_also_where_a_gradient_is_missing_at_first() -> None:
    mine, theirs = parameters(), parameters()
    ours, torchs = FusedAdam(mine, **OPTIONS), torch.optim.Adam(theirs, **OPTIONS, fused=True)
    for update in range(5):
        for optimizer, own in ((ours, mine), (torchs, theirs)):
            optimizer.zero_grad()
            assert all(parameter.grad is None for parameter in own)
            set_gradients(own[: 2 if update < 2 else None], seed=update)
            optimizer.param_groups[0]["lr"] = 0.1 / (1 + update)
            optimizer.step()
        assert_equal(mine, theirs)
    for one, other in zip(mine, theirs, strict=True):
        assert ours.state[one].keys() == torchs.state[other].keys()
        assert_equal(list(ours.state[one].values()), list(torchs.state[other].values()))


@pytest.mark.parametrize("loads", [FusedAdam, torch.optim.Adam])
def test_goes_on_from_a_state_of_either(loads: type[torch.optim.Adam]) -> None:
    mine = parameters()
    ours = FusedAdam(mine, **OPTIONS)
    set_gradients(mine, seed=0)
    ours.step()
    other = [Parameter(parameter.detach().clone()) for parameter in mine]
    loaded = loads(other, **OPTIONS) if loads is FusedAdam else loads(other, **OPTIONS, fused=True)
    loaded.load_state_dict(copy.deepcopy(ours.state_dict()))
    for optimizer, own in ((ours, mine), (loaded, other)):
        set_gradients(own, seed=1)
        optimizer.step()
    assert_equal(mine, other)


def test_a_copied_optimizer_changes_its_own_parameters() -> None:
    mine = parameters()
    ours = FusedAdam(mine, **OPTIONS)
    set_gradients(mine, seed=0)
    ours.step()
    before = [parameter.detach().clone() for parameter in mine]
    copied = copy.deepcopy(ours)
    set_gradients(copied.param_groups[0]["params"], seed=1)
    copied.step()
    assert_equal(mine, before)
    set_gradients(mine, seed=1)
    ours.step()
    assert_equal(mine, copied.param_groups[0]["params"])


@given(scale=st.floats(1e-3, 1e3), max_norm=st.floats(1e-3, 1e3), seed=st.integers(0, 2**16))
def test_gradients_are_clipped_as_torch_clips_them(scale: float, max_norm: float, seed: int) -> None:
    mine, theirs = parameters(), parameters()
    for own in (mine, theirs):
        set_gradients(own[:3], seed, scale / 6)
    norm = clip_gradients(mine, max_norm)
    assert torch.equal(norm, torch.nn.utils.clip_grad_norm_(theirs, max_norm))
    assert_equal([p.grad for p in mine[:3]], [p.grad for p in theirs[:3]])  # type: ignore[misc]
    assert mine[3].grad is None


def test_what_is_not_finite_is_left_where_it_is() -> None:
    mine = parameters()
    set_gradients(mine, seed=0)
    assert mine[1].grad is not None
    mine[1].grad[3] = torch.nan
    before = [p.grad.clone() for p in mine if p.grad is not None]
    assert clip_gradients(mine, 0.5).isnan()
    for parameter, old in zip(mine, before, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, old, rtol=0, atol=0, equal_nan=True)


def test_nothing_to_clip_has_the_norm_zero() -> None:
    assert clip_gradients(parameters(), 0.5) == 0
