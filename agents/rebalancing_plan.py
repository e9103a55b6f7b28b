"""When, and in which networks, the weights of a training will move."""

from agents.building import network_settings
from agents.configuration import TrainingConfiguration
from agents.ppo.imitation import fit_updates
from agents.ppo.rebalancing import Rebalancing
from policies.network.architectures import ActorCriticSpecification, specify_architecture
from policies.network.rebalancing import check_free_positions
from policies.refusal import Refusal


def rebalancings(configuration: TrainingConfiguration) -> tuple[Rebalancing | None, Rebalancing | None]:
    """Return what moves weights while demonstrations are fitted, and what does during reinforcement learning.

    An actor that has been fitted keeps its pattern: what moves would have to learn again what it can do already.
    """
    moving = set(configuration.moving_networks)
    fitted = moving & ({"actor"} if configuration.demos else set())

    def of(networks: set[str], phase: int) -> Rebalancing | None:
        return (
            None
            if not networks
            else Rebalancing(
                configuration.rebalance,
                networks=tuple(sorted(networks)),
                scope=configuration.rebalance_scope,
                fraction=configuration.rebalance_fraction,
                until=configuration.rebalance_until,
                initial=configuration.rebalance_init,
                pinned=frozenset(configuration.densities),
                seed=[configuration.seed, phase],
            )
        )

    return of(fitted, 0), of(moving - fitted, 1)


def check_moves(configuration: TrainingConfiguration, specification: ActorCriticSpecification) -> None:
    """Refuse a training in which weights are to move and cannot, or never would during reinforcement learning.

    :raises Refusal: one line that says what would fit
    """
    for name in configuration.moving_networks:
        check_free_positions(getattr(specification, name), name)
    _, rebalancing = rebalancings(configuration)
    if rebalancing is not None:
        _check_count(rebalancing, rl_updates(configuration), configuration.rebalance_every)


def check_fit(configuration: TrainingConfiguration, episodes: int) -> None:
    """Refuse a fit to so many episodes in which weights are to move and never would.

    :raises Refusal: one line that says what would fit
    """
    rebalancing, _ = rebalancings(configuration)
    if rebalancing is not None:
        _check_count(rebalancing, fit_updates(episodes, configuration.demo_epochs), configuration.rebalance_every)


def rl_updates(configuration: TrainingConfiguration) -> float:
    """Return the updates of a whole training, each of one rollout; the last one may be of more steps than are left."""
    return configuration.total_timesteps / (configuration.n_steps * configuration.n_envs)


def moves_note(configuration: TrainingConfiguration) -> str | None:
    """Say in one line how often weights move during reinforcement learning; None if they do not."""
    _, rebalancing = rebalancings(configuration)
    if rebalancing is None:
        return None
    updates, every = rl_updates(configuration), configuration.rebalance_every
    count = rebalancing.moves(updates, every)
    often = "once" if count == 1 else f"{count:,} times"
    return (
        f"weights of the {' and the '.join(rebalancing.networks)} move {often}: every {every} updates of {updates:,.0f}"
    )


def room_note(configuration: TrainingConfiguration, specification: ActorCriticSpecification) -> str | None:
    """Say in one line which hidden sizes leave room for weights to move; None if all would be the same without."""
    settings, actor = network_settings(configuration), specification.actor
    if not settings["room"]:
        return None
    without = specify_architecture(n_inputs=actor.n_inputs, n_outputs=actor.n_outputs, **settings | {"room": None})
    sizes = [
        f"{network.n_hidden:,} hidden units of the {name} where {smallest.n_hidden:,} would do"
        for name, network, smallest in (
            ("actor", actor, without.actor),
            ("critic", specification.critic, without.critic),
        )
        if network.n_hidden != smallest.n_hidden
    ]
    return f"room for weights to move between blocks: {' and '.join(sizes)}" if sizes else None


def _check_count(rebalancing: Rebalancing, updates: float, every: int) -> None:
    if rebalancing.moves(updates, every):
        return
    most = rebalancing.moves(updates, 1)
    fits = f"at most {most} fits" if most else "a longer training is needed"
    raise Refusal(
        f"`rebalance_every` {every} leaves no move of the {' and the '.join(rebalancing.networks)} in the "
        f"{updates:,.0f} updates of this training, of which {rebalancing.until:.0%} may move weights: {fits}"
    )
