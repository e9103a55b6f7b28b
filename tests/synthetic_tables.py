"""Tables of trainings that nobody made, whose scores follow a known law: a hidden proportion is best that only the
task and the budget decide."""

import numpy as np

from agents.recommendation.networks import Network, TaskFacts, dense_proportion
from agents.recommendation.records import Record
from policies.network.architectures import specify_architecture
from policies.refusal import Refusal

PROPORTIONS = (0.05, 0.2, 0.35, 0.5, 0.65, 0.8)


def best_proportion(facts: TaskFacts, budget: int) -> float:
    """Return the hidden proportion that the law makes the best."""
    return 0.25 + 0.5 * dense_proportion(facts.n_inputs, facts.n_outputs, budget)


def score_of(facts: TaskFacts, network: Network) -> float:
    """Return what the law gives a network, at most 1."""
    if not network.densities:
        return 0.2
    return 1 - 2.5 * (network.hidden_proportion - best_proportion(facts, network.budget)) ** 2


def synthetic_records(n_tasks: int, *, noise: float = 0.02, seed: int = 0, scale: float = 1.0) -> list[Record]:
    """Return two seeds of eight or so networks at two budgets of each task.

    :param scale: of the scores, which is a task's own affair
    """
    generator = np.random.default_rng(seed)
    records = []
    for number in range(n_tasks):
        # Tasks of both kinds of actions cover the range of everything.
        pair = number // 2
        n_inputs = round(np.geomspace(2, 600, -(-n_tasks // 2))[pair] * generator.uniform(1, 1.2))
        facts = TaskFacts(n_inputs, (1, 12, 3)[pair % 3], bool(number % 2), (10.0, 600.0)[pair % 2], False)
        n_outputs, steps = facts.n_outputs, (200, 500_000)[pair % 4 // 2]
        offset = generator.normal()
        least = n_outputs * (n_inputs + n_outputs) + 20 * (n_inputs + n_outputs)
        for budget in (2 * least, 8 * least):
            for network in networks(facts, budget):
                records += [
                    Record(
                        *("synthetic", f"task-{number:02d}", "0", facts, steps, run, network),
                        score=scale * (score_of(facts, network) + noise * generator.normal() + offset),
                        seconds=1.0,
                        curve=((0, scale * offset), (steps // 2, scale * (score_of(facts, network) / 2 + offset))),
                    )
                    for run in (0, 1)
                ]
    return records


def networks(facts: TaskFacts, budget: int) -> list[Network]:
    """Return those that fit of six hidden proportions, dense, and LSTM."""
    found = []
    options = [("varied", {"hidden_proportion": p}) for p in PROPORTIONS] + [("dense", {}), ("lstm", {})]
    for architecture, given in options:
        try:
            found.append(
                Network.of(specify_architecture(architecture, facts.n_inputs, facts.n_outputs, budget, **given))
            )
        except Refusal:
            continue
    return found
