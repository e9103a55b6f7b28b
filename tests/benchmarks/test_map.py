"""The map and the parent's tables: from the committed table, and from some of known truth."""

import dataclasses

import numpy as np
import pytest
from data_files import ROOT
from synthetic_tables import synthetic_records

from agents.recommendation.networks import Network, TaskFacts
from agents.recommendation.parent import HOME, TABLE
from agents.recommendation.records import Comparison, comparisons, read_table
from agents.studies.definition import read_study
from agents.studies.planning import plan_study
from agents.studies.samplers import STARTS
from benchmarks import map as benchmark
from benchmarks import parent as tables
from policies.network.blocks import BLOCKS

SUITE = sorted((ROOT / "benchmarks" / "suite").glob("*.yaml"))


def comparison(scores: dict[tuple[str, float], tuple[float, ...]]) -> Comparison:
    networks = tuple(Network(name, 500, 20, p, dict.fromkeys(BLOCKS, 1.0)) for name, p in scores)
    facts = TaskFacts(10, 2, True, 20.0, False)
    return Comparison("study", "task", "0", facts, 500, 100, True, networks, tuple(scores.values()))


def test_best_network_counts_by_other_seeds_than_chose_it() -> None:
    found = benchmark.gap(
        comparison({("varied", 0.1): (0.9, 0.3), ("varied", 0.5): (0.5, 0.6), ("dense", 0.8): (0.2, 0.4)})
    )
    assert found is not None
    # The second run chooses p = 0.5, which scores 0.5 in the first; the first chooses p = 0.1: 0.3. Dense has 0.3.
    assert found.value == pytest.approx(0.4 - 0.3)
    assert found.is_fair
    # Variance over seeds (0.18 + 0.005 + 0.02) / 3, quantile 3.182 of t with 3 degrees of freedom.
    assert found.interval == pytest.approx(
        (0.1 - 3.182 * np.sqrt(0.205 / 3), 0.1 + 3.182 * np.sqrt(0.205 / 3)), abs=1e-3
    )


def test_one_seed_has_no_interval_and_is_marked() -> None:
    found = benchmark.gap(comparison({("varied", 0.1): (0.9,), ("varied", 0.5): (0.5,), ("dense", 0.8): (0.2,)}))
    assert found is not None
    assert (found.value, found.interval, found.is_fair) == (pytest.approx(0.7), None, False)
    assert benchmark.gap(comparison({("varied", 0.1): (0.9,), ("lstm", 0.5): (0.5,)})) is None


def test_chance_alone_makes_no_gap() -> None:
    """Where all networks are alike, the gap is about zero, though the best of eight is always above."""
    generator = np.random.default_rng(0)
    values, naive = [], []
    for _ in range(200):
        scores = generator.normal(size=(9, 2))
        names = [("varied", p / 10) for p in range(1, 9)] + [("dense", 0.9)]
        one = comparison({name: tuple(own) for name, own in zip(names, scores, strict=True)})
        found = benchmark.gap(one)
        assert found is not None
        values.append(found.value)
        naive.append(one.means[:8].max() - one.means[8])
    assert abs(np.mean(values)) < 3 / np.sqrt(200)
    assert np.mean(naive) > 0.5


def test_readme_shows_the_map_of_the_committed_table() -> None:
    gaps = benchmark.gaps_of(read_table(HOME / TABLE))
    page = (ROOT / "benchmarks" / "README.md").read_text()
    for paragraph in benchmark.section(gaps, []).split("\n\n"):
        assert paragraph in page
    assert len(benchmark.draw(gaps).axes) == 3


def test_parent_and_rule_are_measured_on_tasks_they_have_not_seen() -> None:
    found = comparisons(synthetic_records(11))
    trials = tables.leave_one_out(found)
    assert len(trials) == 11
    for task, own in trials.items():
        assert all(task not in {known.task for known in trial.parent.tasks} for trial in own)
        assert all(task not in {one.task for one in trial.others} for trial in own)
        assert all(trial.comparison.is_final for trial in own)
    regrets = {name: tables.regrets_of(name, trials).mean() for name in tables.CONTENDERS}
    assert regrets[tables.PARENT] < regrets["random"] / 2
    assert min(regrets.values()) >= 0
    fair = tables.regrets_of(tables.PARENT, trials, tables.Trial.regret_by_other_seeds)
    assert np.isfinite(fair).all()
    assert fair.mean() <= regrets[tables.PARENT] + 1e-12
    assert tables.by_task(trials, tables.correlation).mean() > 0.5
    assert 0.7 <= tables.by_task(trials, tables.covered).mean() <= 1
    first = next(iter(trials.values()))[0]
    assert tables.always_dense(first).argmax() == [n.architecture for n in first.comparison.networks].index("dense")
    needed = tables.replayed(first)
    assert needed is None or needed >= 1
    few = dataclasses.replace(first.comparison, networks=first.comparison.networks[:STARTS])
    assert tables.replayed(dataclasses.replace(first, comparison=few)) is None
    (table, *_) = tables.report(dict(list(trials.items())[:2]))
    assert table.count("\n") == 1 + len(tables.CONTENDERS)


def test_regret_by_other_seeds_is_zero_of_networks_that_are_level() -> None:
    """Where scores are noise alone, the first network falls short of the best by nothing, if one looks fairly."""
    generator = np.random.default_rng(0)
    (first, *_) = comparisons(synthetic_records(1))
    fair, naive = [], []
    for _ in range(300):
        scores = (*(tuple(generator.normal(size=2)) for _ in range(7)), (generator.normal(),))
        one = dataclasses.replace(first, networks=first.networks[:1] * 8, scores=scores)
        trial = tables.Trial(one, None, ())
        fair.append(trial.regret_by_other_seeds(np.eye(8)[0]))
        naive.append(trial.regret(np.eye(8)[0]))
    assert abs(np.mean(fair)) < 3 * np.std(fair) / np.sqrt(300) + 0.05
    assert np.mean(naive) > 0.5
    single = dataclasses.replace(first, scores=tuple(own[:1] for own in first.scores))
    assert np.isnan(tables.Trial(single, None, ()).regret_by_other_seeds(np.eye(len(single.networks))[0]))


def test_a_network_with_more_seeds_is_not_the_only_one_that_may_be_the_best() -> None:
    (first, *_) = comparisons(synthetic_records(1))
    scores = ((0.1, 0.1, 0.1), (0.9, 0.9), (0.95,))
    one = dataclasses.replace(first, networks=first.networks[:3], scores=scores)
    trial = tables.Trial(one, None, ())
    assert trial.regret_by_other_seeds(np.eye(3)[0]) == pytest.approx(0.8)
    assert trial.regret_by_other_seeds(np.eye(3)[2]) == pytest.approx(-0.05)


def test_a_task_counts_by_its_comparisons_of_several_seeds() -> None:
    (first, *_) = comparisons(synthetic_records(1))
    single = dataclasses.replace(first, scores=tuple(own[:1] for own in first.scores))
    trials = {"task": [tables.Trial(one, None, ()) for one in (first, single)]}
    both = tables.by_task(trials, lambda trial: trial.regret_by_other_seeds(np.eye(len(first.networks))[0]))
    assert both == [trials["task"][0].regret_by_other_seeds(np.eye(len(first.networks))[0])]


@pytest.mark.parametrize("file", SUITE, ids=lambda file: file.stem)
def test_suite_trains_the_same_sixteen_networks_of_each_task(file) -> None:
    definition = read_study(file)
    groups = {group.name: group for group in definition.groups}
    assert list(groups) == ["proportions", "others", "paper_draw"]
    assert len(groups["proportions"].each["hidden_proportion"]) == 8
    assert groups["others"].each["architecture"] == ("dense", "uniform", "lstm", "gru")
    assert (groups["paper_draw"].trials, len(groups["paper_draw"].drawn)) == (4, len(BLOCKS))
    assert len({group.each["budget"] for group in definition.groups}) == 1
    assert all(len(group.each["budget"]) == 2 for group in definition.groups)
    assert all(len(groups[name].seeds) >= 2 for name in ("proportions", "others"))


def test_suite_is_wide_and_its_networks_fit() -> None:
    assert len(SUITE) >= 14
    plan = plan_study(read_study(ROOT / "benchmarks" / "suite" / "anomaly_20_10.yaml"))
    assert len(plan.cells) == 56
    assert not plan.infeasible
