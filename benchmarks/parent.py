"""How good the parent's choice is on tasks it has not seen: python -m benchmarks.parent.

Every task of the table (agents/recommendation/records.csv) is left out once, with all its settings and what is the
same task with other data or demonstrations. A parent is learned from the others, all that is fitted of it and the
width of the intervals included, and picks a network for each comparison of the task that was left out: what it
falls short of the best one is the regret, on the scaled score. Beside it stand what needs no model, learned from the
same other tasks. Figures are means over a task's comparisons, then over tasks; intervals draw tasks again.

Searches are replayed on each comparison's varied networks: in how many trials the tree-structured Parzen estimator
alone finds what five trials contain: those that the parent ranks first, or that `sampler: parent` starts with, for
which the rule may rank.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from scipy import stats

from agents.recommendation.networks import Network
from agents.recommendation.parent import COVERAGE, FEWEST_TASKS, HOME, TABLE, Parent, learn_from, outside
from agents.recommendation.recommend import suitability
from agents.recommendation.records import Comparison, comparisons, read_table
from agents.recommendation.rule import Rule
from agents.studies.samplers import STARTS
from agents.trained.intervals import bootstrap_interval
from benchmarks.harness import markdown_table, write_section

SEARCHES = 10
"""Of the Parzen estimator, each with a seed of its own."""
MOST_TRIALS = 40


@dataclass(frozen=True)
class Trial:
    """A comparison of a task, and the parent that was learned without the task.

    :ivar others: comparisons of the other tasks
    """

    comparison: Comparison
    parent: Parent
    others: Sequence[Comparison]

    @property
    def is_inside(self) -> bool:
        """Whether the task lies within the range of the others, where the parent predicts."""
        one = self.comparison
        return outside(self.parent.tasks, one.facts, one.steps, one.budget) is None

    @property
    def predicted(self) -> np.ndarray:
        """The parent's prediction for each network, (n,)."""
        one = self.comparison
        return self.parent.predict(one.facts, one.steps, one.networks)

    def regret(self, shares: np.ndarray) -> float:
        """Return what a choice falls short of the best network.

        :param shares: (n,), how often each network is chosen
        """
        return float(self.comparison.means.max() - shares @ self.comparison.means)

    def regret_by_other_seeds(self, shares: np.ndarray) -> float:
        """Return what a choice falls short of the network that other seeds call the best; NaN with one seed alone.

        The best of many scores flatters itself. So the best network, of those with several seeds, is chosen by all
        seeds but one, and it and the choice count by that one, in turn. A network that has no score of a turn counts by
        the mean of its scores.
        """
        scores = self.comparison.scores
        seeds = [len(own) for own in scores]
        if max(seeds) < 2:
            return float("nan")
        found = []
        for turn in range(min(count for count in seeds if count > 1)):
            others = [np.mean(np.delete(own, turn)) if len(own) > 1 else -np.inf for own in scores]
            own = np.array([own[turn] if len(own) > 1 else own[0] for own in scores])
            found.append(own[int(np.argmax(others))] - shares @ own)
        return float(np.mean(found))


def leave_one_out(found: Sequence[Comparison]) -> dict[str, list[Trial]]:
    """Return the trials of every task, each with a parent that was learned from the other tasks."""
    trials = {}
    for kin in sorted({one.kin for one in found}):
        others = [one for one in found if one.kin != kin]
        parent = learn_from(others, "left out")
        trials[kin] = [Trial(one, parent, others) for one in found if one.kin == kin and one.is_final]
    return trials


def _kind(network: Network) -> str:
    """Return which networks of other tasks count as the same; proportions in tenths."""
    return f"{network.architecture} {network.hidden_proportion:.1f}" if _is_varied(network) else network.architecture


def _is_varied(network: Network) -> bool:
    return network.architecture == "varied"


def best_elsewhere(trial: Trial) -> np.ndarray:
    """Return the mean score over other tasks of networks like those of a trial, (n,); -inf where there is none."""
    seen: dict[str, dict[str, list[float]]] = {}
    for one in trial.others:
        if one.is_final:
            for network, mean in zip(one.networks, one.means, strict=True):
                seen.setdefault(_kind(network), {}).setdefault(one.task, []).append(float(mean))
    means = {kind: float(np.mean([np.mean(own) for own in tasks.values()])) for kind, tasks in seen.items()}
    return np.array([means.get(_kind(network), -np.inf) for network in trial.comparison.networks])


def always_dense(trial: Trial) -> np.ndarray:
    """Return scores of which a dense network has the highest, else the one nearest to its hidden proportion."""
    rule = Rule("weights per input", np.inf, varied_above=True)
    return rule.scores(trial.comparison.facts, trial.comparison.networks)


def chosen(scores: np.ndarray) -> np.ndarray:
    """Return how often each network is chosen, (n,): always the one of the highest score."""
    return np.eye(len(scores))[int(np.argmax(scores))]


def by_rule(rule: Rule, trial: Trial) -> np.ndarray:
    """Return how often a rule chooses each network, (n,)."""
    return chosen(rule.scores(trial.comparison.facts, trial.comparison.networks))


def by_parent(trial: Trial) -> np.ndarray:
    """Return how often the parent chooses each network, (n,); outside of its range the rule."""
    return chosen(trial.predicted) if trial.is_inside else by_rule(trial.parent.rule, trial)


PARENT, OUTSIDE_TOO, FIXED = "the parent", "the same, outside of its range too", "always p = 0.5"
CONTENDERS: Mapping[str, Callable[[Trial], np.ndarray]] = {
    PARENT: by_parent,
    OUTSIDE_TOO: lambda trial: chosen(trial.predicted),
    "the rule": lambda trial: by_rule(trial.parent.rule, trial),
    FIXED: lambda trial: by_rule(Rule(), trial),
    "always dense": lambda trial: chosen(always_dense(trial)),
    "best on the other tasks": lambda trial: chosen(best_elsewhere(trial)),
    "random": lambda trial: np.full(len(trial.comparison.networks), 1 / len(trial.comparison.networks)),
}
"""Name -> how often each network of a comparison is chosen, (n,)."""


def by_task(trials: Mapping[str, Sequence[Trial]], figure: Callable[[Trial], float]) -> np.ndarray:
    """Return the mean of a figure over each task's comparisons that have one, (tasks,); NaN where none does."""
    return np.array([_mean([figure(trial) for trial in own]) for own in trials.values()])


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")


def regrets_of(
    name: str, trials: Mapping[str, Sequence[Trial]], regret: Callable[[Trial, np.ndarray], float] = Trial.regret
) -> np.ndarray:
    """Return the mean regret of a contender on each task, (tasks,)."""
    return by_task(trials, lambda trial: regret(trial, CONTENDERS[name](trial)))


def correlation(trial: Trial) -> float:
    """Return the rank correlation of predictions and scores."""
    return float(stats.spearmanr(trial.predicted, trial.comparison.means)[0])


def _differ(trial: Trial) -> bool:
    """Tell whether there is a rank to correlate with: on some tasks all networks are level."""
    return bool(np.ptp(trial.comparison.means) > 0)


def covered(trial: Trial) -> float:
    """Return the share of the networks whose score lies in the parent's interval."""
    return float(np.mean(np.abs(trial.predicted - trial.comparison.means) <= trial.parent.half_width))


def report(trials: Mapping[str, Sequence[Trial]]) -> list[str]:
    """Return tables of regrets, of ranks and coverage, and what was to be reached beside what is."""
    regrets = {name: regrets_of(name, trials) for name in CONTENDERS}
    rows = []
    for name in CONTENDERS:
        above = "" if name == PARENT else _shown(regrets[name] - regrets[PARENT])
        by_others = regrets_of(name, trials, Trial.regret_by_other_seeds)
        rows.append([name, _shown(regrets[name]), above, _shown(by_others[np.isfinite(by_others)])])
    header = ["picks the network", "mean regret", "above the parent's", "regret by other seeds"]
    parts = [markdown_table(header, rows)]
    ranked, within = _those(trials, _differ), _those(trials, lambda trial: trial.is_inside)
    widths = [own[0].parent.half_width for own in trials.values()]
    coverage = f"coverage of the {COVERAGE:.0%} intervals"
    rows = [
        ["tasks", f"{len(trials)}", f"{len(within)}"],
        [
            "rank correlation of prediction and score",
            _shown(by_task(ranked, correlation)),
            _shown(by_task(_those(ranked, lambda trial: trial.is_inside), correlation)),
        ],
        [coverage, _shown(by_task(trials, covered)), _shown(by_task(within, covered))],
        ["half width of these intervals, median", f"{np.median(widths):.2f}", ""],
        ["regret of its pick", _shown(regrets_of(OUTSIDE_TOO, trials)), _shown(regrets_of(OUTSIDE_TOO, within))],
        ["regret of p = 0.5", _shown(regrets_of(FIXED, trials)), _shown(regrets_of(FIXED, within))],
    ]
    parts.append(markdown_table(["predictions of the parent", "all tasks", "those within its range"], rows))
    worst = [name for name in CONTENDERS if not regrets[name].mean() > regrets[PARENT].mean() and name != PARENT]
    rows = [
        ["regret of the parent at most 0.05", f"{regrets[PARENT].mean():.3f}"],
        ["and below every other's", f"not below {', '.join(worst)}" if worst else "yes"],
        ["coverage 0.85 to 0.95", f"{by_task(trials, covered).mean():.3f}"],
        [
            f"TPE alone needs at least 15 trials for what the parent's first {STARTS} contain",
            searches(trials, replayed),
        ],
        [
            f"the same, for what the first {STARTS} of `sampler: parent` contain",
            searches(trials, lambda trial: replayed(trial, suitability_of(trial))),
        ],
    ]
    parts.append(markdown_table(["to be reached", "reached"], rows))
    return parts


def _those(trials: Mapping[str, Sequence[Trial]], belongs: Callable[[Trial], bool]) -> dict[str, list[Trial]]:
    """Return some of the trials, and the tasks that have any."""
    return {task: chosen for task, own in trials.items() if (chosen := [trial for trial in own if belongs(trial)])}


def suitability_of(trial: Trial) -> np.ndarray:
    """Return what `sampler: parent` would rank the networks of a trial by, (n,)."""
    one, parent = trial.comparison, trial.parent
    return suitability(parent, one.facts, one.steps, one.networks, parent.doubt(one.facts, one.steps, one.budget))


def searches(trials: Mapping[str, Sequence[Trial]], figure: Callable[[Trial], float | None]) -> str:
    """Return the median number of trials over comparisons, in words."""
    found = [count for own in trials.values() for trial in own if (count := figure(trial)) is not None]
    median = float(np.median(found)) if found else float("nan")
    shown = f"more than {MOST_TRIALS}" if median > MOST_TRIALS else f"{median:g}"
    return f"{shown} (median over {len(found)} comparisons, {SEARCHES} searches each)"


def _shown(values: np.ndarray) -> str:
    if not len(values):
        return ""
    interval = bootstrap_interval(values)
    between = "" if interval is None else f" ({interval[0]:.3f} to {interval[1]:.3f})"
    return f"{np.mean(values):.3f}{between}"


def replayed(trial: Trial, scores: np.ndarray | None = None) -> float | None:
    """Return after how many trials TPE alone has found what the first five varied networks contain.

    A proposed hidden proportion stands for the varied network next to it.

    :param scores: (n,), which the networks are ranked by; the parent's predictions if not given
    :return: median over searches; None where there are too few varied networks to search among
    """
    places = [place for place, network in enumerate(trial.comparison.networks) if _is_varied(network)]
    if len(places) <= STARTS:
        return None
    means, ranked_by = trial.comparison.means[places], (trial.predicted if scores is None else scores)[places]
    proportions = np.array([trial.comparison.networks[place].hidden_proportion for place in places])
    reached = means[np.argsort(-ranked_by, kind="stable")[:STARTS]].max()
    counts = []
    for seed in range(SEARCHES):
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        for count in range(1, MOST_TRIALS + 2):
            proposal = study.ask()
            p = proposal.suggest_float("hidden_proportion", float(proportions.min()), float(proportions.max()))
            score = float(means[int(np.argmin(np.abs(proportions - p)))])
            study.tell(proposal, score)
            if score >= reached or count > MOST_TRIALS:
                counts.append(count)
                break
    return float(np.median(counts))


def main() -> None:
    """Renew the section of the README."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found = comparisons(read_table(HOME / TABLE))
    trials = leave_one_out(found)
    n_comparisons = sum(map(len, trials.values()))
    parts = ["### The parent", "`python -m benchmarks.parent`", *report(trials)]
    said = f"Tasks left out, one after the other: {len(trials)}, with {n_comparisons} comparisons. "
    said += "Means over tasks with 95 % intervals, which draw tasks again; a regret of 1 is the whole way from an "
    said += "untrained network to the best one. By other seeds: the best network is chosen by other seeds than those "
    said += "that it and the pick count by, as the best of many scores flatters itself; a pick can then be better. "
    several = by_task(trials, lambda trial: float(max(map(len, trial.comparison.scores)) > 1))
    said += f"{int(np.sum(several > 0))} tasks have several seeds."
    if len(trials) <= FEWEST_TASKS:
        said += (
            f" From the {len(trials) - 1} that are left no finite interval follows, {FEWEST_TASKS} are needed: "
            "coverage and width say nothing yet, and with fewer tasks altogether the parent does not choose."
        )
    text = "\n\n".join([*parts, said])
    print(text)
    write_section("parent", text)


if __name__ == "__main__":
    main()
