"""The rule: one number known before training says whether varied or dense sparsity is worth while.

It is what decides where the parent knows too little.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from agents.recommendation.networks import CANDIDATES, Network, TaskFacts, dense_proportion
from agents.recommendation.records import Comparison
from policies.network.specification import DEFAULT_HIDDEN_PROPORTION

FEWEST_TASKS = 9
"""A rule fits fewer tasks by chance: fitted to six of seven, it chose worse than at random on the seventh."""


@dataclass(frozen=True)
class Rule:
    """Varied sparsity with p = 0.5 on one side of a threshold, a dense network on the other.

    :ivar number: one of `CANDIDATES`; empty: p = 0.5 everywhere
    :ivar varied_above: p = 0.5 is for tasks above the threshold, not for those up to it
    """

    number: str = ""
    threshold: float = 0.0
    varied_above: bool = False

    def __post_init__(self) -> None:
        if self.number and self.number not in CANDIDATES:
            raise ValueError(f"the rule names {self.number!r}, which is unknown")

    def takes_dense(self, facts: TaskFacts, budget: int) -> bool:
        """Tell whether a dense network is what the rule takes."""
        if not self.number:
            return False
        return (CANDIDATES[self.number](facts, budget) > self.threshold) != self.varied_above

    def scores(self, facts: TaskFacts, networks: Sequence[Network]) -> np.ndarray:
        """Return how well networks fit the rule, (n,): the nearer in hidden proportion, the better; at most 0.

        Of two equally near, the architecture that the rule names is better; those that are not made of the six blocks
        come last.
        """
        found = []
        for network in networks:
            dense = self.takes_dense(facts, network.budget)
            wanted = (
                dense_proportion(facts.n_inputs, facts.n_outputs, network.budget)
                if dense
                else DEFAULT_HIDDEN_PROPORTION
            )
            distance = abs(network.hidden_proportion - wanted) if network.densities else 1.0
            found.append(-distance if network.architecture == ("dense" if dense else "varied") else -distance - 0.01)
        return np.array(found)

    def __str__(self) -> str:
        if not self.number:
            return f"p = {DEFAULT_HIDDEN_PROPORTION}"
        sides = ("dense", f"p = {DEFAULT_HIDDEN_PROPORTION}")
        below, above = sides if self.varied_above else sides[::-1]
        return f"{below} up to a {self.number} of {self.threshold:.3g}, {above} above"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def fit_rule(found: Sequence[Comparison]) -> Rule:
    """Return the rule of the smallest mean regret over tasks; p = 0.5 everywhere if none is better, or tasks are few.

    :param found: comparisons, of which those at the end of a training count
    """
    final = [comparison for comparison in found if comparison.is_final]
    if len({comparison.kin for comparison in final}) < FEWEST_TASKS:
        return Rule()
    rules = [Rule()]
    for name, number in CANDIDATES.items():
        values = sorted({number(comparison.facts, comparison.budget) for comparison in final})
        for low, high in itertools.pairwise(values):
            rules += [Rule(name, (low + high) / 2, above) for above in (False, True)]
    return min(rules, key=lambda rule: round(mean_regret(final, lambda one: rule.scores(one.facts, one.networks)), 6))


def mean_regret(final: Sequence[Comparison], scores: Callable[[Comparison], np.ndarray]) -> float:
    """Return the mean over tasks, kin as one, of what the network of the highest score falls short of the best one.

    :param scores: of the networks of a comparison, (n,)
    """
    by_task: dict[str, list[float]] = {}
    for one in final:
        by_task.setdefault(one.kin, []).append(float(one.means.max() - one.means[int(np.argmax(scores(one)))]))
    return float(np.mean([np.mean(own) for own in by_task.values()]))
