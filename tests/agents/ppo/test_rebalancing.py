"""Weights of a policy that move while it learns."""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.logger import configure
from torch import Tensor

from agents.ppo.growth_limit import GrowthLimit
from agents.ppo.rebalancing import RULES, SCOPES, Rebalancing
from agents.ppo.rebalancing_callback import RebalancingCallback
from policies.gru_policy import GruPolicy
from policies.network.blocks import BLOCKS
from policies.network.rebalancing import Rebalanced, rebalanced
from policies.network.specification import specify
from policies.recurrent.layer import SparseRecurrentLayer
from policies.refusal import Refusal
from policies.varied_sparsity_policy import VariedSparsityPolicy

SPACES = gymnasium.spaces.Box(-1, 1, (5,)), gymnasium.spaces.Box(-1, 1, (3,))


def built(**options: Any) -> VariedSparsityPolicy:
    options = {"budget": 300, "hidden_size": 20, "network_seed": 1} | options
    return VariedSparsityPolicy(*SPACES, lambda _: 1e-2, **options)


def loss_of(policy: VariedSparsityPolicy, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    inputs, target = torch.randn(6, 4, 5, generator=generator), torch.randn(6, 4, 3, generator=generator)
    zeros = [torch.zeros(4, layer.state_size) for layer in (policy.actor, policy.critic)]
    outputs = policy.actor(inputs, zeros[0]).outputs, policy.critic(inputs, zeros[1]).outputs
    return (outputs[0] - target).square().mean() + (outputs[1] - target[..., :1]).square().mean()


def learn(policy: VariedSparsityPolicy, updates: int = 2) -> None:
    for update in range(updates):
        policy.optimizer.zero_grad()
        loss_of(policy, update).backward()
        policy.optimizer.step()


def by_position(policy: VariedSparsityPolicy, network: str, block: str) -> dict[int, tuple[float, ...]]:
    """Position -> the weight there and its moments."""
    layer = getattr(policy, network)
    parameter = layer.weights[block]
    state = policy.optimizer.state[parameter]
    columns = [parameter.detach(), state["exp_avg"], state["exp_avg_sq"]]
    return dict(zip(layer.positions(block).tolist(), zip(*(c.tolist() for c in columns), strict=True), strict=True))


@settings(max_examples=25)
@given(
    st.sampled_from(RULES),
    st.sampled_from(SCOPES),
    st.sampled_from(("zero", "scaled")),
    st.floats(0.05, 1),
    st.integers(0, 2**31),
)
def test_optimizer_state_follows_its_weight(rule: str, scope: str, initial: str, fraction: float, seed: int) -> None:
    policy = built()
    rebalancing = Rebalancing(rule, scope=scope, initial=initial, fraction=fraction, seed=seed)
    with recorded_moves() as moves:
        for _ in range(2):
            moves.clear()
            check_a_move(policy, rebalancing, moves)
    learn(policy)  # the optimizer goes on


@contextmanager
def recorded_moves() -> Iterator[list[Rebalanced]]:
    """Record what becomes of the patterns of each network."""
    moves: list[Rebalanced] = []

    def recording(*arguments: Any) -> Rebalanced:
        moves.append(rebalanced(*arguments))
        return moves[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agents.ppo.rebalancing.rebalanced", recording)
        yield moves


def check_a_move(policy: VariedSparsityPolicy, rebalancing: Rebalancing, moves: list[Rebalanced]) -> None:
    learn(policy)
    total = policy.actor.specification.weights
    before = {(name, block): by_position(policy, name, block) for name in ("actor", "critic") for block in BLOCKS}
    rebalancing.step(policy, policy.optimizer, 0.0, lambda: loss_of(policy))
    for (name, block), old in before.items():
        new = by_position(policy, name, block)
        assert len(new) == getattr(policy, name).specification.weights[block]
        if rebalancing.scope == "block" or (name == "critic" and block[0] == "y"):
            assert len(new) == len(old)
        assert all(new[position] == old[position] for position in new.keys() & old.keys())
        mean = float(torch.tensor([entry[2] for entry in old.values()]).mean())
        for position in new.keys() - old.keys():
            weight, first, second = new[position]
            revived = position in moves[name == "critic"].revived[block]
            assert (weight != 0) == (rebalancing.initial == "scaled" or revived)
            assert first == 0
            assert second == pytest.approx(mean, rel=1e-5)
    for name in ("actor", "critic"):
        assert sum(getattr(policy, name).specification.weights.values()) == 300
    moved = [by_position(policy, name, block).keys() - old.keys() for (name, block), old in before.items()]
    assert any(moved) == (round(rebalancing.fraction * max(total.values())) > 0)


def test_a_revived_unit_learns() -> None:
    """Even where grown weights start at zero: a unit of relu whose inputs are all zero has no gradient."""
    policy = built()
    learn(policy)
    layer = policy.actor
    with torch.no_grad():
        for block in ("hx", "hh", "hy"):  # what unit 3 reads is worth least
            rows = layer.positions(block) // layer.specification.shape(block)[1]
            layer.weights[block][rows == 3] *= 1e-9
    rebalancing = Rebalancing("magnitude", networks=("actor",), fraction=0.4)
    with recorded_moves() as moves:
        rebalancing.step(policy, policy.optimizer, 0.0, lambda: loss_of(policy))
    own = [
        (block, position)
        for block in ("hx", "hh", "hy")
        for position in moves[0].revived[block]
        if position // layer.specification.shape(block)[1] == 3
    ]
    assert own
    values = {
        (block, position): value
        for block in ("hx", "hh", "hy")
        for position, value in zip(layer.positions(block).tolist(), layer.weights[block].tolist(), strict=True)
    }
    assert all(values[one] != 0 for one in own)


def test_only_the_named_networks_move_and_pins_hold() -> None:
    policy = built(densities={"hy": 0.5})
    first = policy.specification
    learn(policy)
    Rebalancing("momentum", networks=("actor",), pinned=frozenset({"hy"})).step(
        policy, policy.optimizer, 0.0, lambda: loss_of(policy)
    )
    assert policy.critic.specification == first.critic
    weights = policy.actor.specification.weights
    assert weights["hy"] == first.actor.weights["hy"]
    assert weights["hh"] != first.actor.weights["hh"]


def test_scores_are_the_gradients_of_the_full_matrices() -> None:
    policy = built()
    learn(policy)
    before = loss_of(policy)
    found = Rebalancing("momentum", seed=3).measure(policy, policy.optimizer, 0.3, lambda: loss_of(policy))
    assert torch.equal(loss_of(policy), before)
    layer = policy.actor
    dense = {}
    for block in BLOCKS:
        flat = torch.zeros(math.prod(layer.specification.shape(block)))
        flat[layer.positions(block)] = layer.weights[block].detach()
        dense[block] = flat.view(layer.specification.shape(block)).requires_grad_()
    generator = torch.Generator().manual_seed(0)
    inputs, target = torch.randn(6, 4, 5, generator=generator), torch.randn(6, 4, 3, generator=generator)
    h, y, outputs = torch.zeros(4, 20), torch.zeros(4, 3), []
    for x in inputs:
        sums = x @ dense["hx"].T + h @ dense["hh"].T + y @ dense["hy"].T + layer.bias[:20]
        y = x @ dense["yx"].T + h @ dense["yh"].T + y @ dense["yy"].T + layer.bias[20:]
        h = torch.relu(sums)
        outputs.append(y)
    (torch.stack(outputs) - target).square().mean().backward()
    for block in BLOCKS:
        positions, scores = found["actor"][block]
        own = layer.positions(block).numpy()
        assert np.isin(own, positions).all()
        gradient = dense[block].grad
        assert gradient is not None
        np.testing.assert_allclose(scores, gradient.flatten()[positions].abs().numpy(), rtol=1e-3, atol=1e-6)
    assert any(len(found["actor"][block][0]) > layer.specification.weights[block] for block in BLOCKS)
    assert all(parameter.grad is None or parameter.grad.shape == parameter.shape for parameter in policy.parameters())


def test_blocks_of_steady_momentum_grow() -> None:
    policy = built(hidden_size=40)
    learn(policy)
    for block in BLOCKS:
        state = policy.optimizer.state[policy.actor.weights[block]]
        state["exp_avg_sq"].fill_(1.0)
        state["exp_avg"].fill_(0.9 if block == "hh" else 0.1)
    p = policy.actor.specification.hidden_proportion
    Rebalancing("momentum").step(policy, policy.optimizer, 0.0, lambda: loss_of(policy))
    assert policy.actor.specification.hidden_proportion > p


def test_memory_grows_with_weights_not_with_the_square_of_units() -> None:
    """Twenty thousand units: one matrix of bytes would be 400 MB."""
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not clear.exists():
        pytest.skip("the peak of a process is found in Linux's /proc alone")

    def kilobytes(name: str) -> int:
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(name))

    policy = built()
    policy.actor = SparseRecurrentLayer(specify(5, 3, 100_000, hidden_size=20_000, hidden_proportion=0.3), seed=1)
    optimizer = torch.optim.Adam(policy.actor.parameters())
    policy.actor(torch.randn(2, 1, 5), torch.zeros(1, policy.actor.state_size)).outputs.sum().backward()
    optimizer.step()

    def loss() -> Tensor:
        return policy.actor(torch.ones(2, 1, 5), torch.zeros(1, policy.actor.state_size)).outputs.sum()

    clear.write_text("5")  # the peak so far is forgotten
    before = kilobytes("VmRSS")
    Rebalancing("momentum", networks=("actor",)).step(policy, optimizer, 0.0, loss)
    assert kilobytes("VmHWM") - before < 150_000


def test_fraction_falls_to_zero_as_a_half_cosine() -> None:
    rebalancing = Rebalancing("random", fraction=0.4, until=0.5)
    assert [rebalancing.fraction_at(t) for t in (0, 0.25, 0.5, 1)] == pytest.approx([0.4, 0.2, 0, 0])
    policy = built()
    first = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    rebalancing.step(policy, policy.optimizer, 0.5, lambda: loss_of(policy))
    assert all(torch.equal(tensor, first[name]) for name, tensor in policy.state_dict().items())


def stock_learner(env: str) -> RecurrentPPO:
    return RecurrentPPO(
        VariedSparsityPolicy,
        env,
        n_steps=32,
        batch_size=32,
        n_epochs=2,
        seed=0,
        device="cpu",
        policy_kwargs={"budget": 300, "hidden_proportion": 0.3, "room": ("actor", "critic")},
    )


def test_beside_the_limit_on_growth_in_a_stock_recurrent_ppo() -> None:
    """Which reads the rollout after the callback that took a gradient of it."""
    algorithm = stock_learner("Pendulum-v1")
    algorithm.set_logger(configure(None, []))
    first = algorithm.policy.specification
    moving = RebalancingCallback(Rebalancing("momentum"), every=1)
    algorithm.learn(32 * 3, callback=[moving, GrowthLimit()])
    assert algorithm.policy.specification != first
    assert algorithm.logger.name_to_value["network/recurrence_scale/actor"] > 0


@pytest.mark.parametrize("action", ["Pendulum-v1", "CartPole-v1"])
def test_in_a_stock_recurrent_ppo(action: str, tmp_path: Path) -> None:
    algorithm = stock_learner(action)
    first = algorithm.policy.specification
    algorithm.learn(32 * 5, callback=RebalancingCallback(Rebalancing("momentum"), every=1))
    now = algorithm.policy.specification
    assert now.actor.total_weights == first.actor.total_weights
    assert now.actor.hidden_proportion != first.actor.hidden_proportion
    algorithm.save(tmp_path / "model")
    loaded = RecurrentPPO.load(tmp_path / "model", device="cpu")
    assert loaded.policy.specification == now
    observation = algorithm.observation_space.sample()
    one, two = (model.predict(observation, deterministic=True)[0] for model in (algorithm, loaded))
    assert np.array_equal(one, two)


def test_what_cannot_move_is_refused() -> None:
    with pytest.raises(Refusal, match="momentum, magnitude, random"):
        Rebalancing("momentums")
    with pytest.raises(Refusal, match="rebalance_fraction 0"):
        Rebalancing("random", fraction=0)
    policy = built()
    for momentum in (0.0, 0.9):
        descent = torch.optim.SGD(policy.parameters(), lr=0.1, momentum=momentum)
        loss_of(policy).backward()
        descent.step()
        with pytest.raises(Refusal, match="SGD"):
            Rebalancing("momentum").step(policy, descent, 0.0, lambda: loss_of(policy))
    with pytest.raises(Refusal, match="Adamax"):
        Rebalancing("momentum").check(policy, torch.optim.Adamax(policy.parameters()))
    gru = GruPolicy(*SPACES, lambda _: 1e-2, lstm_hidden_size=4)
    with pytest.raises(Refusal, match="six blocks"):
        Rebalancing("random").move(gru, gru.optimizer, 0.3, {})
    with pytest.raises(Refusal, match="pattern blocks of the actor"):
        Rebalancing("random").check(built(pattern="blocks"), policy.optimizer)
    dense = VariedSparsityPolicy(*SPACES, lambda _: 1e-2, architecture="dense", budget=300)
    with pytest.raises(Refusal, match="no weight of the actor can move"):
        Rebalancing("random").check(dense, dense.optimizer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"networks": "actor"}, "`networks` 'actor' does not fit"),
        ({"networks": ("actors",)}, "does not fit"),
        ({"pinned": frozenset({"zz"})}, "`pinned` 'zz' is unknown"),
    ],
)
def test_networks_and_blocks_of_other_names_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(Refusal) as caught:
        Rebalancing("random", **options)
    assert message in caught.value.message


def test_a_stock_recurrent_ppo_is_refused_where_its_training_starts() -> None:
    with pytest.raises(Refusal, match="every 0 is"):
        RebalancingCallback(Rebalancing("random"), every=0)
    stock = RecurrentPPO("MlpLstmPolicy", "CartPole-v1", n_steps=32, batch_size=32, device="cpu")
    with pytest.raises(Refusal, match="six blocks"):
        stock.learn(32, callback=RebalancingCallback(Rebalancing("random"), every=100))
    assert stock.num_timesteps == 0


def test_room_is_for_the_actor_and_the_critic() -> None:
    with pytest.raises(Refusal, match="room 'both' does not fit"):
        built(room="both")


def test_a_revived_weight_is_not_the_zero_that_was_there() -> None:
    policy = built()
    learn(policy)
    layer = policy.actor
    with torch.no_grad():
        for block in ("hx", "hh", "hy"):  # unit 3 reads nothing
            layer.weights[block][layer.positions(block) // layer.specification.shape(block)[1] == 3] = 0
    first = copy.deepcopy(policy)
    came_back = 0
    for seed in range(40):
        policy = copy.deepcopy(first)
        with recorded_moves() as moves:
            Rebalancing("magnitude", networks=("actor",), seed=seed).move(policy, policy.optimizer, 0.4, {})
        for block, revived in moves[0].revived.items():
            positions = policy.actor.positions(block).numpy()
            assert (policy.actor.weights[block].detach().numpy()[np.isin(positions, revived)] != 0).all()
            came_back += np.isin(revived, first.actor.positions(block).numpy()).sum()
    assert came_back > 0


def test_what_removal_left_unconnected_is_reported() -> None:
    policy = built()
    learn(policy)
    layer = policy.actor
    with torch.no_grad():
        for block in ("hx", "hh", "hy"):
            layer.weights[block][layer.positions(block) // layer.specification.shape(block)[1] == 3] *= 1e-9
    with recorded_moves() as moves:
        moved = Rebalancing("magnitude", networks=("actor",), fraction=0.4).step(
            policy, policy.optimizer, 0.0, lambda: loss_of(policy)
        )
    assert 3 in moves[0].unconnected
    assert moved["actor"].revived == len(moves[0].unconnected) > 0
    assert moved["actor"].unconnected == 0
    assert moved["actor"].weights > 0


def test_moves_are_counted_as_they_will_be_made() -> None:
    for updates, every, until in ((30, 10, 0.75), (8, 1, 0.75), (7.5, 2, 1.0), (4, 10, 0.75), (40, 10, 1.0)):
        rebalancing = Rebalancing("random", until=until)
        made = [
            update
            for update in range(1, math.ceil(updates) + 1)
            if update % every == 0 and rebalancing.fraction_at(update / updates) > 0
        ]
        assert rebalancing.moves(updates, every) == len(made)
