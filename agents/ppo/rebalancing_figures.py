"""What is logged of networks whose weights move, beside PPO and while demonstrations are fitted."""

from stable_baselines3.common.logger import Logger

from agents.ppo.rebalancing import Moved
from policies.network.specification import BLOCKS, NetworkSpecification


def record_network(logger: Logger, phase: str, name: str, specification: NetworkSpecification) -> None:
    """Log where a network has its weights.

    :param phase: "network", or "demos" while demonstrations are fitted; the figures' names begin with it
    :param name: "actor" or "critic"
    """
    logger.record(f"{phase}/hidden_proportion/{name}", specification.hidden_proportion)
    for block in BLOCKS:
        logger.record(f"{phase}/weights/{name}/{block}", specification.weights[block])
        logger.record(f"{phase}/density/{name}/{block}", specification.densities[block])


def record_move(logger: Logger, phase: str, name: str, specification: NetworkSpecification, moved: Moved) -> None:
    """Log where a network has its weights after a move, and what the move came to.

    What moves come to is logged as their mean where the logger writes less often than weights move.

    :param specification: after the move; `phase` and `name` as in `record_network`
    """
    record_network(logger, phase, name, specification)
    logger.record_mean(f"{phase}/moved/{name}", moved.weights)
    logger.record_mean(f"{phase}/revived_units/{name}", moved.revived)
    logger.record_mean(f"{phase}/unconnected_units/{name}", moved.unconnected)
