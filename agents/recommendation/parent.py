"""The parent: predicts the score of a network before any training, with an interval, and says when it cannot.

A Gaussian process is fitted to the table of all trainings. Its errors on whole tasks that were left out give the
intervals: each task counts alike, and one more, unknown task counts as if it were missed by any amount, so that a new
task is covered as often as is said if it resembles the others (hierarchical conformal prediction, Lee, Barber and
Willett, arXiv 2306.06342).

A parent is kept as arrays and JSON in one .npz file, which runs no code.
"""

import json
import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.recommendation.gaussian_process import GaussianProcess
from agents.recommendation.networks import RANGED, STEPS, Network, TaskFacts, features, task_features
from agents.recommendation.records import Comparison, Record, comparisons, digest, kin_of, table_text
from agents.recommendation.regret import least_mean, regrets
from agents.recommendation.rule import Rule, fit_rule
from policies.refusal import Refusal

FORMAT = 3
"""Of the file, and of the features in it."""
COVERAGE = 0.9
FEWEST_TASKS = 9
"""With fewer tasks no interval of this coverage is finite: the one that is unknown counts for more than the rest."""
HOME = Path(__file__).parent
"""Where the project's own parent and its table lie."""
FILE, TABLE = "parent.npz", "records.csv"


@dataclass(frozen=True)
class KnownTask:
    """A training of a task in the table, but for its network.

    :ivar steps: of the longest training
    :ivar budgets: of its comparisons
    :ivar best: title of its best network
    """

    task: str
    facts: TaskFacts
    steps: int
    budgets: tuple[int, ...]
    best: str

    def is_like(self, facts: TaskFacts) -> bool:
        """Tell whether a task has the same kind of actions, and is learned in the same way."""
        return (self.facts.chooses, self.facts.imitates) == (facts.chooses, facts.imitates)

    def features(self) -> np.ndarray:
        """Return the task features of each budget, (budgets, 7)."""
        return np.stack([task_features(self.facts, self.steps, budget) for budget in self.budgets])


def outside(known: Sequence[KnownTask], facts: TaskFacts, steps: int, budget: int) -> str | None:
    """Return in what a task lies outside of the range of those that are known and like it; None if in nothing."""
    alike = [one for one in known if one.is_like(facts)]
    if not alike:
        kind = "choices" if facts.chooses else "Box actions"
        return f"no task of the table has {kind} and {'' if facts.imitates else 'no '}demonstrations"
    rows = np.concatenate([one.features() for one in alike])
    own = task_features(facts, steps, budget)
    for column, name in enumerate(RANGED):
        low, high = rows[:, column].min(), rows[:, column].max()
        if not low - 1e-6 <= own[column] <= high + 1e-6:
            back = math.expm1 if name == STEPS else math.exp
            return (
                f"{back(own[column]):,.0f} {name} lie outside of the table's range of such tasks, "
                f"{back(low):,.0f} to {back(high):,.0f}"
            )
    return None


@dataclass(frozen=True)
class Parent:
    """What has been learned from a table.

    :ivar version: format and digest of the table
    :ivar half_width: of the intervals; infinite where the tasks are too few
    :ivar lead: by how much its choice, outside of its range the rule's, beats the rule's on tasks that were left out,
        at least: lower end of the interval of the mean, -inf where the tasks are too few
    """

    version: str
    process: GaussianProcess
    half_width: float
    lead: float
    rule: Rule
    tasks: tuple[KnownTask, ...]

    def predict(self, facts: TaskFacts, steps: int, networks: Sequence[Network]) -> np.ndarray:
        """Return the predicted scores of networks, (n,): 1 is the best network of the task, 0 an untrained one."""
        return self.process.predict(features(facts, steps, networks))

    def interval(self, score: float) -> tuple[float, float]:
        """Return where a score, from 0 to 1, lies with a probability of `COVERAGE`, given its prediction."""
        return max(0.0, min(1.0, score) - self.half_width), min(1.0, max(0.0, score) + self.half_width)

    @property
    def n_tasks(self) -> int:
        """Number of tasks in the table; those of one environment and the same sizes are one."""
        return len({kin_of(known.task, known.facts) for known in self.tasks})

    @property
    def no_lead(self) -> str:
        """What is said where the parent's choice is not shown to be better than the rule's."""
        return f"on {self.n_tasks} tasks, each left out once, its choice is not better than the rule's for sure"

    def nearest(self, facts: TaskFacts, steps: int, budget: int, count: int = 3) -> list[KnownTask]:
        """Return the tasks that are most alike, the nearest first; of those that are kin the nearest alone."""
        own = task_features(facts, steps, budget)
        distances: dict[str, tuple[float, KnownTask]] = {}
        for known in self.tasks:
            distance = float(np.linalg.norm((known.features() - own) / self._spread(), axis=1).min())
            kin = kin_of(known.task, known.facts)
            if kin not in distances or distance < distances[kin][0]:
                distances[kin] = (distance, known)
        return [known for _, known in sorted(distances.values(), key=lambda pair: pair[0])[:count]]

    def _spread(self) -> np.ndarray:
        rows = np.concatenate([known.features() for known in self.tasks])
        return np.maximum(rows.std(axis=0), 0.25)

    def alike(self, facts: TaskFacts) -> list[KnownTask]:
        """Return the tasks of the same kind of actions, learned in the same way."""
        return [known for known in self.tasks if known.is_like(facts)]

    def doubt(self, facts: TaskFacts, steps: int, budget: int) -> str | None:
        """Return why the rule chooses and not the parent; None if the parent does."""
        return self.ignorance(facts, steps, budget) or (self.no_lead if self.lead <= 0 else None)

    def ignorance(self, facts: TaskFacts, steps: int, budget: int) -> str | None:
        """Return why the parent knows too little to predict; None if it can."""
        if self.n_tasks < FEWEST_TASKS:
            return (
                f"the table holds {self.n_tasks} {'task' if self.n_tasks == 1 else 'tasks'}, of which at least "
                f"{FEWEST_TASKS} are needed"
            )
        return outside(self.tasks, facts, steps, budget)

    def save(self, folder: Path) -> None:
        """Write the parent's file into a folder."""
        about = {
            "format": FORMAT,
            "version": self.version,
            "half_width": self.half_width if math.isfinite(self.half_width) else None,
            "lead": self.lead if math.isfinite(self.lead) else None,
            "rule": self.rule.to_dict(),
            "tasks": [asdict(known) for known in self.tasks],
        }
        np.savez_compressed(folder / FILE, about=np.array(json.dumps(about)), **self.process.arrays())

    @classmethod
    def load(cls, folder: Path = HOME) -> "Parent":
        """Read a parent that `save` wrote; nothing in the file is executed.

        :raises Refusal: if there is none, or it is damaged or of another version of the project
        """
        file = folder / FILE
        try:
            with np.load(file, allow_pickle=False) as content:
                arrays = dict(content)
        except FileNotFoundError:
            raise Refusal(f"`parent` {folder} holds no {FILE}: a folder that sweep.py learn wrote is needed") from None
        except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise Refusal(f"`parent` {file} cannot be read: {error}") from None
        except (ValueError, KeyError, TypeError):
            raise Refusal(f"`parent` {file} is no file that sweep.py learn wrote") from None
        try:
            about: dict[str, Any] = json.loads(str(arrays.pop("about")))
            if about["format"] != FORMAT:
                raise Refusal(
                    f"`parent` {file} is of format {about['format']}: {FORMAT} is needed, sweep.py learn renews it"
                )
            tasks = tuple(_known_task(entry) for entry in about["tasks"])
            if not tasks:
                raise ValueError("it knows no task")
            width = math.inf if about["half_width"] is None else float(about["half_width"])
            if not width >= 0:
                raise ValueError(f"half_width is {width}")
            return cls(
                str(about["version"]),
                GaussianProcess.of_arrays(arrays),
                width,
                -math.inf if about["lead"] is None else float(about["lead"]),
                Rule(**about["rule"]),
                tasks,
            )
        except Refusal:
            raise
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise Refusal(f"`parent` {file} is damaged: {error}") from None


def _known_task(entry: dict[str, Any]) -> KnownTask:
    known = KnownTask(
        str(entry["task"]),
        TaskFacts(**entry["facts"]),
        int(entry["steps"]),
        tuple(int(budget) for budget in entry["budgets"]),
        str(entry["best"]),
    )
    if not np.isfinite(known.features()).all():
        raise ValueError(f"task {known.task} has steps or budgets that are none")
    return known


def learn(records: Sequence[Record]) -> Parent:
    """Fit a parent to a table.

    :raises Refusal: if there is no comparison in the table
    """
    return learn_from(comparisons(records), f"{FORMAT}-{digest(table_text(records))}")


def learn_from(found: Sequence[Comparison], version: str) -> Parent:
    """Fit a parent to comparisons, as `learn` does to a table.

    :raises Refusal: if there are none
    """
    if not found:
        raise Refusal(
            "the table compares no networks with each other: at least four of one budget and setting are needed"
        )
    from agents.recommendation.fitting import fit_gaussian_process  # which SciPy's optimizers take a while to load for

    names, kin = sorted({one.task for one in found}), sorted({one.kin for one in found})
    counts = [len(one.networks) for one in found]
    rows = np.concatenate([features(one.facts, one.steps, one.networks) for one in found])
    targets = np.concatenate([one.means for one in found])
    tasks = np.repeat([kin.index(one.kin) for one in found], counts)
    fit = fit_gaussian_process(rows, targets, np.repeat(np.arange(len(found)), counts), tasks)
    is_final = np.repeat([one.is_final for one in found], counts)

    rule, final = fit_rule(found), [one for one in found if one.is_final]
    known = tuple(_known(name, [one for one in final if one.task == name]) for name in names)
    by_rule = [rule.scores(one.facts, one.networks) for one in final]
    left_out = np.split(fit.left_out[is_final], np.cumsum([len(one.networks) for one in final])[:-1])
    chosen = [
        scores if _is_inside(one, known) else of_rule
        for one, scores, of_rule in zip(final, left_out, by_rule, strict=True)
    ]
    return Parent(
        version,
        fit.process,
        half_width(np.abs(targets - fit.left_out)[is_final], tasks[is_final]),
        # The rule was fitted to these very tasks, which flatters it.
        least_mean(regrets(final, by_rule) - regrets(final, chosen)),
        rule,
        known,
    )


def _is_inside(one: Comparison, known: Sequence[KnownTask]) -> bool:
    """Tell whether a task lies within the range of the others."""
    others = [task for task in known if kin_of(task.task, task.facts) != one.kin]
    return outside(others, one.facts, one.steps, one.budget) is None


def half_width(errors: np.ndarray, tasks: np.ndarray, coverage: float = COVERAGE) -> float:
    """Return by how much a prediction for a new task is missed at most, with a probability of `coverage`.

    :param errors: (n,), of predictions for tasks that were left out
    :param tasks: (n,), of each error; every task counts alike, however many errors it has
    :return: infinite if the tasks are too few to say
    """
    counts = np.unique(tasks, return_inverse=True, return_counts=True)
    share = 1 / (counts[2][counts[1]] * (len(counts[0]) + 1))
    order = np.argsort(errors)
    reached = np.cumsum(share[order]) >= coverage - 1e-12
    return float(errors[order][int(np.argmax(reached))]) if reached.any() else math.inf


def _known(name: str, final: Sequence[Comparison]) -> KnownTask:
    best = max(final, key=lambda one: float(one.means.max()))
    title = best.networks[int(np.argmax(best.means))].title
    budgets = tuple(sorted({one.budget for one in final}))
    return KnownTask(name, final[0].facts, max(one.steps for one in final), budgets, title)
