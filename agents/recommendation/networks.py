"""A task and a network as the parent knows them before any training: numbers, and what is made of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from policies.network.architectures import ARCHITECTURES, ActorCriticSpecification
from policies.network.blocks import BLOCKS


@dataclass(frozen=True)
class TaskFacts:
    """What is known of a task.

    :ivar n_inputs: observation size n_x
    :ivar n_outputs: n_y, action size or number of choices
    :ivar chooses: actions are choices, not Box actions
    :ivar episode_length: steps
    :ivar imitates: it learns from demonstrations; alone if for no steps beside
    """

    n_inputs: int
    n_outputs: int
    chooses: bool
    episode_length: float
    imitates: bool

    def __post_init__(self) -> None:
        for name in ("n_inputs", "n_outputs", "episode_length"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}")


@dataclass(frozen=True)
class Network:
    """What is known of an actor: its architecture's name, and numbers as realized.

    :ivar densities: of the six blocks; empty for a network that is not made of them
    """

    architecture: str
    budget: int
    n_hidden: int
    hidden_proportion: float
    densities: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, specification: ActorCriticSpecification) -> "Network":
        """Return what is known of a specification's actor."""
        actor = specification.actor
        densities = dict(actor.densities) if set(actor.densities) == set(BLOCKS) else {}
        return cls(specification.architecture, actor.budget, actor.n_hidden, float(actor.hidden_proportion), densities)

    @property
    def title(self) -> str:
        """What tables and messages call it."""
        if "hidden_proportion" in ARCHITECTURES[self.architecture].options:
            return f"{self.architecture}, p = {self.hidden_proportion:.3g}"
        return ARCHITECTURES[self.architecture].title


def dense_proportion(n_inputs: int, n_outputs: int, budget: int) -> float:
    """Return the hidden proportion of a dense network: n_h² / N at the n_h ≥ 0 at which its six blocks hold N weights.

    Not rounded to whole hidden units; 0 where the budget is too small for any.
    """
    linear, rest = n_inputs + 2 * n_outputs, budget - n_outputs * (n_inputs + n_outputs)
    if rest <= 0:
        return 0.0
    n_hidden = 2 * rest / (linear + math.sqrt(linear * linear + 4 * rest))
    return n_hidden * n_hidden / budget


CANDIDATES = {
    "hidden proportion of a dense network": lambda facts, budget: dense_proportion(
        facts.n_inputs, facts.n_outputs, budget
    ),
    "inputs per output": lambda facts, budget: facts.n_inputs / facts.n_outputs,
    "weights per input": lambda facts, budget: budget / facts.n_inputs,
}
"""Numbers known before training that may say where varied sparsity pays: name -> function of task and budget."""


def task_features(facts: TaskFacts, steps: int, budget: int) -> np.ndarray:
    """Return what is known of a training but for its network, (7,) float64."""
    return np.array(
        [
            math.log(facts.n_inputs),
            math.log(facts.n_outputs),
            math.log(facts.episode_length),
            math.log1p(steps),
            math.log(budget),
            float(facts.chooses),
            float(facts.imitates),
        ]
    )


STEPS = "steps of training"
RANGED = ("inputs", "outputs", "steps of an episode", STEPS, "weights")
"""What the first task features are logarithms of; of the steps, which may be 0, with one added."""


N_NETWORK_FEATURES, N_FEATURES = 3, 11


def features(facts: TaskFacts, steps: int, networks: Sequence[Network]) -> np.ndarray:
    """Return what is known of trainings of these networks, (n, 11) float64: three of the network, eight of the task.

    In units of which one is a considerable difference.
    """
    return np.stack([_features(facts, steps, network) for network in networks])


_TASK_UNITS = np.array([1.5, 1.5, 1.5, 4, 1.5, 1, 1])
"""Of `task_features`."""


def _features(facts: TaskFacts, steps: int, network: Network) -> np.ndarray:
    task = task_features(facts, steps, network.budget) / _TASK_UNITS
    own = [
        4 * network.hidden_proportion,
        3.0 * (network.architecture == "lstm"),
        3.0 * (network.architecture == "gru"),
    ]
    dense = dense_proportion(facts.n_inputs, facts.n_outputs, network.budget)
    return np.array([*own, *task, 3 * dense])
