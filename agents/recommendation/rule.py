"""The rule: one number known before training says whether varied or dense sparsity is worth while.

It is what decides where the parent knows too little.
"""

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from agents.recommendation.networks import CANDIDATES, Network, TaskFacts, dense_proportion
from agents.recommendation.records import Comparison
from agents.recommendation.regret import least_mean, regrets
from policies.network.specification import DEFAULT_HIDDEN_PROPORTION

FEWEST_TASKS = 9
"""A rule fits fewer tasks by chance: fitted to six of seven, it chose worse than at random on the seventh."""


@dataclass(frozen=True)
class Rule:
    """Varied sparsity with one hidden proportion on one side of a threshold, a dense network on the other.

    :ivar number: one of `CANDIDATES`; empty: varied sparsity everywhere
    :ivar varied_above: varied sparsity is for tasks above the threshold, not for those up to it
    """

    number: str = ""
    threshold: float = 0.0
    varied_above: bool = False
    proportion: float = DEFAULT_HIDDEN_PROPORTION

    def __post_init__(self) -> None:
        if self.number and self.number not in CANDIDATES:
            raise ValueError(f"the rule names {self.number!r}, which is unknown")
        if not 0 < self.proportion < 1:
            raise ValueError(f"the rule names a hidden proportion of {self.proportion}")

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
            of_dense = dense_proportion(facts.n_inputs, facts.n_outputs, network.budget)
            wanted = of_dense if dense else self.proportion
            distance = abs(network.hidden_proportion - wanted) if network.densities else 1.0
            found.append(-distance if network.architecture == ("dense" if dense else "varied") else -distance - 0.01)
        return np.array(found)

    def __str__(self) -> str:
        if not self.number:
            return f"p = {self.proportion:g}"
        sides = ("dense", f"p = {self.proportion:g}")
        below, above = sides if self.varied_above else sides[::-1]
        return f"{below} up to a {self.number} of {self.threshold:.3g}, {above} above"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


RULE_PROPORTIONS = (DEFAULT_HIDDEN_PROPORTION, 0.1, 0.2, 0.35, 0.65, 0.8)
"""Hidden proportions that a rule may name."""


def fit_rule(found: Sequence[Comparison]) -> Rule:
    """Return the rule of the smallest mean regret over tasks, as far as it is better for sure than a simpler one.

    First p = 0.5, then another hidden proportion, then dense networks besides. For sure: the lower end of the 95 %
    interval of what is gained is above 0, on tasks left out when the rule was chosen, one after the other: the best
    of a hundred thresholds flatters itself on those that it was chosen by. With few tasks, p = 0.5.

    :param found: comparisons, of which those at the end of a training count
    """
    final = [comparison for comparison in found if comparison.is_final]
    if len({comparison.kin for comparison in final}) < FEWEST_TASKS:
        return Rule()

    def regrets_of(rule: Rule) -> np.ndarray:
        return regrets(final, [rule.scores(one.facts, one.networks) for one in final])

    def better(rules: Sequence[Rule], simple: Rule) -> Rule:
        table = np.stack([regrets_of(rule) for rule in rules])  # (rules, tasks)
        sums = table.sum(axis=1)
        of_others = np.round(sums[:, None] - table, 6).argmin(axis=0)  # which rule, where a task is left out
        gained = regrets_of(simple) - table[of_others, np.arange(table.shape[1])]
        return rules[int(np.round(sums, 6).argmin())] if least_mean(gained) > 0 else simple

    plain = better([Rule(proportion=proportion) for proportion in RULE_PROPORTIONS], Rule())
    rules = [plain]
    for name, number in CANDIDATES.items():
        values = sorted({number(comparison.facts, comparison.budget) for comparison in final})
        for low, high in itertools.pairwise(values):
            rules += [Rule(name, (low + high) / 2, above, plain.proportion) for above in (False, True)]
    return better(rules, plain)
