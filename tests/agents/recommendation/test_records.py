"""The table of trainings: what is compared with what, on which scale, and that it is what the studies say."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from data_files import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_tables import synthetic_records

from agents.recommendation.networks import Network, TaskFacts
from agents.recommendation.parent import HOME, TABLE
from agents.recommendation.records import Record, comparisons, read_table, score_after, table_text
from agents.studies.learning import records_of, score_of, setting_of, task_name
from agents.studies.results import read_results
from policies.network.blocks import BLOCKS
from policies.refusal import Refusal

FACTS = TaskFacts(10, 2, True, 20.0, False)
DENSITIES = dict.fromkeys(BLOCKS, 0.5)


def record(p: float, score: float, *, seed: int = 0, budget: int = 500, **changes: object) -> Record:
    network = Network("varied", budget, 30, p, DENSITIES)
    return dataclasses.replace(
        Record("study", "task", "setting", FACTS, 1_000, seed, network, score), **changes
    )  # fmt: skip


def test_scores_are_scaled_from_the_lowest_evaluation_to_the_best_network() -> None:
    records = [record(p, score, seed=seed) for p, scores in
               {0.1: (2.0, 4.0), 0.2: (7.0, 9.0), 0.3: (5.0, 5.0), 0.4: (1.0, 3.0)}.items()
               for seed, score in enumerate(scores)]  # fmt: skip
    records[0] = dataclasses.replace(records[0], curve=((100, -2.0), (500, 3.0), (1_000, 1.0)))
    (one,) = comparisons(records)
    assert one.is_final
    np.testing.assert_allclose(one.means, [0.5, 1.0, 0.7, 0.4])  # from -2 to the mean of 7 and 9
    assert one.scores[1] == pytest.approx((0.9, 1.1))
    assert comparisons(records, fewest=5) == []


SYNTHETIC = synthetic_records(2)


@settings(max_examples=20)
@given(st.floats(0.001, 1000), st.floats(-1000, 1000))
def test_scale_of_a_tasks_scores_does_not_matter(factor: float, offset: float) -> None:
    records = SYNTHETIC
    changed = [
        dataclasses.replace(
            one,
            score=factor * one.score + offset,
            curve=tuple((steps, factor * score + offset) for steps, score in one.curve),
        )
        for one in records
    ]
    for one, other in zip(comparisons(records), comparisons(changed), strict=True):
        np.testing.assert_allclose(one.means, other.means, atol=1e-6)


def test_only_like_is_compared_with_like() -> None:
    others = {"setting": "other", "task": "another"}
    records = [record(p, 10 * p) for p in (0.1, 0.2, 0.3, 0.4)]
    for name, value in others.items():
        records += [record(p, -p, **{name: value}) for p in (0.1, 0.2, 0.3, 0.4)]
    records += [record(p, 5 * p, budget=900) for p in (0.1, 0.2, 0.3, 0.4)]
    found = {(one.task, one.setting, one.budget): one.means for one in comparisons(records)}
    assert len(found) == 4
    np.testing.assert_allclose(found["task", "setting", 500], [0.5 / 3.5, 1.5 / 3.5, 2.5 / 3.5, 1.0])
    assert found["task", "setting", 900].max() < 1  # of the same scale
    assert found["another", "setting", 500].argmax() == 0
    assert comparisons([record(p, 1.0) for p in (0.1, 0.2, 0.3, 0.4)]) == []  # no better and no worse


def test_score_on_the_way_is_that_of_an_evaluation_near() -> None:
    one = record(0.1, 9.0, curve=((0, 0.0), (240, 2.0), (460, 5.0), (1_000, 8.0)))
    assert [score_after(one, share) for share in (0.25, 0.5, 0.75, 1.0)] == [2.0, 5.0, None, 9.0]


def test_table_comes_back(tmp_path: Path) -> None:
    records = [*synthetic_records(2), record(0.3, -1e-9, seconds=None, study='a, "b"', task="env wrapper=x:Y,z=1")]
    file = tmp_path / "records.csv"
    file.write_text(table_text(records))
    again = read_table(file)
    assert table_text(again) == table_text(records)
    assert again[-1] == records[-1]
    for bad, said in {"a,b\n1,2\n": "its columns are not", table_text(records[:1]) + "x\n": "line 3"}.items():
        file.write_text(bad)
        with pytest.raises(Refusal, match=said):
            read_table(file)
    with pytest.raises(Refusal, match="cannot be read"):
        read_table(tmp_path / "none.csv")


GIVEN = {"env": "RandomAnomaly-v0", "env_arguments": {}, "architecture": "varied", "hidden_proportion": 0.5,
         "budget": 10,
         "learning_rate": 1e-3, "seed": 0, "demos": None, "demos_only": False, "total_timesteps": 100}  # fmt: skip


def test_setting_is_all_but_network_and_seed() -> None:
    same = {"architecture": "lstm", "hidden_proportion": None, "budget": 20, "seed": 4, "eval_every": 3,
            "recommended_by": "1-0", "clip_range_vf": None}  # fmt: skip
    assert setting_of({**GIVEN, **same}) == setting_of(GIVEN)
    for name, value in {"learning_rate": 1e-4, "total_timesteps": 200, "demo_episodes": 5, "init": "scaled"}.items():
        assert setting_of({**GIVEN, name: value}) != setting_of(GIVEN)


def test_task_is_named_by_what_makes_it_another() -> None:
    assert task_name(GIVEN) == "RandomAnomaly-v0"
    given = {**GIVEN, "env_arguments": {"source": "a/b/mnist.npz", "image_size": 12}}
    assert task_name(given) == "RandomAnomaly-v0 image_size=12 source=mnist.npz"
    hammer = {**GIVEN, "env": "AdroitHandHammer-v1", "demos": "some/data"}
    assert task_name({**hammer, "demos_only": True}) == "AdroitHandHammer-v1 imitation"
    assert task_name(hammer) == "AdroitHandHammer-v1 imitation first"
    popgym = {**GIVEN, "env": "popgym-RepeatFirstEasy-v0"}
    preset = ["popgym.wrappers:PreviousAction", "popgym.wrappers:Antialias"]
    assert task_name({**popgym, "wrappers": preset}) == "popgym-RepeatFirstEasy-v0"
    assert task_name(popgym) == "popgym-RepeatFirstEasy-v0 unwrapped"


def test_scores_of_different_figures_are_never_compared() -> None:
    """A study of Hammer's preset that is scored by the mean return is of the same settings, and of another scale."""
    (ours,) = {one.setting for one in read_table(HOME / TABLE) if one.study == "hammer_from_nothing"}
    results = read_results(ROOT / "benchmarks/studies/hammer_from_nothing")
    assert score_of(results) == "success_rate"
    theirs = [dataclasses.replace(result, final_score=result.final["mean_return"]) for result in results]
    assert score_of(theirs) == "mean_return"
    found, _ = records_of("theirs", theirs, {})
    assert ours not in {one.setting for one in found}
    assert {one.setting for one in records_of("ours", results, {})[0]} == {ours}


def test_committed_table_is_what_the_committed_studies_say() -> None:
    """Of tasks whose data are not here, the table's own facts are what is known."""
    table = read_table(HOME / TABLE)
    known = {one.task: one.facts for one in table}
    files = sorted([*ROOT.glob("benchmarks/studies/*/results.csv"), *ROOT.glob("benchmarks/suite/*/results.csv")])
    records = []
    for file in files:
        found, left_out = records_of(file.parent.name, read_results(file.parent), known)
        assert all("whose weights move" in line for line in left_out)
        records += found
    assert table_text(sorted(records, key=lambda one: one.study)) == (HOME / TABLE).read_text(encoding="utf-8")


def test_a_training_in_two_studies_counts_once() -> None:
    records = synthetic_records(1)
    again = [
        dataclasses.replace(one, study="again", seconds=2.0) for one in records if one.network.architecture == "dense"
    ]
    assert again
    for one, two in zip(comparisons(records), comparisons([*records, *again]), strict=True):
        assert (one.networks, one.scores) == (two.networks, two.scores)
    more = [dataclasses.replace(one, seed=7) for one in again]
    assert max(len(own) for own in comparisons([*records, *more])[0].scores) == 3


def test_trainings_whose_weights_move_are_no_choice_of_a_network() -> None:
    results = read_results(ROOT / "benchmarks/studies/rebalancing_digits")
    records, left_out = records_of("moved", results, {})
    moving = [result for result in results if result.cell.startswith("moving")]
    assert len(results) > len(moving) == 9
    assert len(records) == len(results) - len(moving)
    assert left_out == ["moved: 9 trainings whose weights move are left out, as no choice of a network"]


def test_unknown_tasks_are_left_out_and_named() -> None:
    (result,) = read_results(ROOT / "benchmarks/studies/hammer_from_nothing")[:1]
    given = {**result.hyperparameters, "env": "NoSuch-v0"}
    records, left_out = records_of("study", [dataclasses.replace(result, hyperparameters=given)], {})
    assert records == []
    assert len(left_out) == 1
    assert "study: NoSuch-v0 is left out" in left_out[0]
    records, left_out = records_of("study", [dataclasses.replace(result, hyperparameters=given)], {"NoSuch-v0": FACTS})
    assert (records[0].facts, left_out) == (FACTS, [])
