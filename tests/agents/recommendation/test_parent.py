"""The parent: what it learns from tables of known truth, what it keeps, and when it says that it knows too little."""

import dataclasses
import json
import math
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from data_files import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_tables import best_proportion, networks, score_of, synthetic_records

from agents.recommendation.networks import TaskFacts, dense_proportion
from agents.recommendation.parent import (
    FEWEST_TASKS,
    FILE,
    FORMAT,
    HOME,
    TABLE,
    Parent,
    half_width,
    learn,
    learn_from,
)
from agents.recommendation.records import comparisons, digest, read_table, table_text
from agents.recommendation.regret import least_mean, regrets
from agents.recommendation.rule import Rule, fit_rule
from policies.network.specification import specify_dense
from policies.refusal import Refusal


@pytest.fixture(scope="module")
def parent() -> Parent:
    return learn(synthetic_records(16))


def test_choice_on_new_tasks_is_near_the_best() -> None:
    """With tasks drawn from the same ones as those that were learned from, as the intervals ask for."""
    found = [one for one in comparisons(synthetic_records(40)) if one.is_final]
    names = np.random.default_rng(0).permutation(sorted({one.task for one in found}))
    parent = learn_from([one for one in found if one.task in names[:20]], "half")
    fresh = [one for one in found if one.task in names[20:]]

    regret = np.mean(regrets(fresh, [parent.predict(one.facts, one.steps, one.networks) for one in fresh]))
    always = np.mean(regrets(fresh, [Rule().scores(one.facts, one.networks) for one in fresh]))
    assert regret < 0.01
    assert regret < always / 2
    covered = [
        np.mean(np.abs(parent.predict(one.facts, one.steps, one.networks) - one.means) <= parent.half_width)
        for one in fresh
    ]
    assert 0.8 <= np.mean(covered) <= 1.0
    assert parent.half_width < 0.1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_width_is_the_quantile_of_one_task_more(errors: list[float]) -> None:
    """With one error for each task: the ⌈0.9 (K + 1)⌉-th smallest of K, infinite where there is none."""
    place = math.ceil(0.9 * (len(errors) + 1) - 1e-9)
    expected = sorted(errors)[place - 1] if place <= len(errors) else math.inf
    assert half_width(np.array(errors), np.arange(len(errors))) == expected
    assert (half_width(np.array(errors), np.arange(len(errors))) == math.inf) == (len(errors) < FEWEST_TASKS)


@given(st.integers(1, 5))
def test_tasks_count_alike_however_many_errors_they_have(copies: int) -> None:
    errors, tasks = np.linspace(0, 1, 30), np.arange(30) % 10
    more = np.concatenate([errors, *[errors[tasks == 3]] * copies])
    assert half_width(more, np.concatenate([tasks, *[np.full(3, 3)] * copies])) == half_width(errors, tasks)


def test_what_is_kept_comes_back(parent: Parent, tmp_path: Path) -> None:
    parent.save(tmp_path)
    again = Parent.load(tmp_path)
    assert (again.version, again.half_width, again.rule) == (parent.version, parent.half_width, parent.rule)
    assert again.tasks == parent.tasks
    facts = TaskFacts(30, 4, True, 50.0, False)
    shown = networks(facts, 5_000)
    np.testing.assert_array_equal(again.predict(facts, 10**5, shown), parent.predict(facts, 10**5, shown))
    before = (tmp_path / FILE).read_bytes()
    again.save(tmp_path)
    assert (tmp_path / FILE).read_bytes() == before


def test_loading_is_quick_and_needs_no_scikit_learn() -> None:
    text = (
        "import sys, time; from agents.recommendation.parent import Parent; before = time.process_time(); "
        "Parent.load(); print(time.process_time() - before, 'sklearn' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, check=True)
    seconds, scikit_learn = done.stdout.split()
    assert float(seconds) < 0.5
    assert scikit_learn == "False"


def _pickled(folder: Path) -> None:
    np.savez(folder / FILE, about=np.array([{"code": print}], dtype=object))


def _cut(folder: Path) -> None:
    (folder / FILE).write_bytes((folder / FILE).read_bytes()[:-500])


def _flipped(folder: Path) -> None:
    with zipfile.ZipFile(folder / FILE) as archive:
        (first, *_) = archive.infolist()
    content = bytearray((folder / FILE).read_bytes())
    for place in range(first.header_offset + 100, first.header_offset + 160):
        content[place] ^= 0xFF
    (folder / FILE).write_bytes(content)


def _one_array(folder: Path) -> None:
    with (folder / FILE).open("wb") as file:
        np.save(file, np.zeros(3))


def _edited(folder: Path, **changes: object) -> None:
    with np.load(folder / FILE) as content:
        arrays = dict(content)
    arrays |= {name: value for name, value in changes.items() if name != "about"}
    about = json.loads(str(arrays["about"])) | dict(changes.get("about", {}))
    np.savez(folder / FILE, **{**arrays, "about": np.array(json.dumps(about))})


def _task(folder: Path, facts: Mapping[str, object] | None = None, **changes: object) -> None:
    with np.load(folder / FILE) as content:
        first, *others = json.loads(str(content["about"]))["tasks"]
    changed = {**first, **changes, "facts": first["facts"] | dict(facts or {})}
    _edited(folder, about={"tasks": [changed, *others]})


DAMAGES = {
    "none": (lambda folder: (folder / FILE).unlink(), "a folder that sweep.py learn wrote is needed"),
    "pickled": (_pickled, "is no file that sweep.py learn wrote"),
    "cut": (_cut, "cannot be read"),
    "flipped": (_flipped, "cannot be read"),
    "one array": (_one_array, "is no file that sweep.py learn wrote"),
    "other format": (lambda folder: _edited(folder, about={"format": 99}), "of format 99"),
    "no tasks": (lambda folder: _edited(folder, about={"tasks": []}), "is damaged"),
    "other shape": (lambda folder: _edited(folder, rows=np.zeros((3, 4))), "is damaged"),
    "no numbers": (lambda folder: _edited(folder, constant=np.array([np.nan])), "is damaged"),
    "no length": (lambda folder: _edited(folder, lengths=np.zeros(3)), "is damaged"),
    "rule": (lambda folder: _edited(folder, about={"rule": {"whatever": 1}}), "is damaged"),
    "rule's proportion": (lambda folder: _edited(folder, about={"rule": {"proportion": 7}}), "is damaged"),
    "rule's words": (lambda folder: _edited(folder, about={"rule": {"proportion": "x"}}), "is damaged"),
    "width": (lambda folder: _edited(folder, about={"half_width": -1}), "is damaged"),
    "inputs in words": (lambda folder: _task(folder, facts={"n_inputs": "six"}), "is damaged"),
    "no inputs": (lambda folder: _task(folder, facts={"n_inputs": 0}), "is damaged"),
    "no budgets": (lambda folder: _task(folder, budgets=[]), "is damaged"),
    "steps in words": (lambda folder: _task(folder, steps="x"), "is damaged"),
    "steps below none": (lambda folder: _task(folder, steps=-5), "is damaged"),
    "unknown rule": (lambda folder: _edited(folder, about={"rule": {"number": "weight"}}), "is damaged"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_file_is_refused_in_one_line(name: str, parent: Parent, tmp_path: Path) -> None:
    damage, said = DAMAGES[name]
    parent.save(tmp_path)
    damage(tmp_path)
    with pytest.raises(Refusal, match=said) as refused:
        Parent.load(tmp_path)
    assert refused.value.fields == ["parent"]


def test_doubt_names_what_is_missing(parent: Parent) -> None:
    known = next(known for known in parent.tasks if known.facts.chooses)
    facts, budget = known.facts, known.budgets[0]
    assert parent.doubt(facts, known.steps, budget) is None
    assert parent.nearest(facts, known.steps, budget)[0].task == known.task
    assert len({near.task for near in parent.nearest(facts, known.steps, budget)}) == 3

    many = TaskFacts(10**6, facts.n_outputs, True, facts.episode_length, False)
    assert "1,000,000 inputs lie outside of the table's range" in str(parent.doubt(many, known.steps, budget))
    assert "weights lie outside" in str(parent.doubt(facts, known.steps, 10**9))
    assert "steps of training lie outside" in str(parent.doubt(facts, 10**9, budget))
    imitated = TaskFacts(*list(vars(facts).values())[:-1], imitates=True)
    assert "no task of the table has choices and demonstrations" in str(parent.doubt(imitated, 0, budget))
    few = learn(synthetic_records(FEWEST_TASKS - 1))
    assert "the table holds 8 tasks, of which at least 9 are needed" in str(few.doubt(facts, known.steps, budget))
    assert few.half_width == math.inf
    assert learn(synthetic_records(1)).doubt(facts, known.steps, budget) is not None
    with pytest.raises(Refusal, match="compares no networks"):
        learn([])


def test_tasks_of_one_environment_and_the_same_sizes_count_as_one() -> None:
    records = synthetic_records(FEWEST_TASKS)
    again = [dataclasses.replace(one, task=f"{one.task} source=other") for one in records if one.task == "task-00"]
    parent = learn([*records, *again])
    assert len({known.task for known in parent.tasks}) == FEWEST_TASKS + 1
    assert parent.n_tasks == FEWEST_TASKS
    # Fewer count, whatever they are called.
    few = [one for one in records if one.task != "task-01"]
    assert learn([*few, *again]).half_width == math.inf
    assert learn([*few, *again]).n_tasks == FEWEST_TASKS - 1


def test_regret_is_what_the_choice_falls_short_of_the_best() -> None:
    found = [one for one in comparisons(synthetic_records(6, noise=0.0)) if one.is_final]
    assert (regrets(found, [one.means for one in found]) == 0).all()
    worst = regrets(found, [-one.means for one in found])
    expected = {one.kin: [] for one in found}
    for one in found:
        expected[one.kin].append(np.ptp(one.means))
    np.testing.assert_allclose(worst, [np.mean(expected[kin]) for kin in sorted(expected)])


def test_lead_is_none_where_all_tasks_lie_outside_of_each_others_range() -> None:
    """The rule chooses for them; of one task there is nothing to say."""
    assert learn(synthetic_records(2)).lead == 0
    assert learn(synthetic_records(1)).lead == -math.inf


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=20))
def test_least_mean_is_below_the_mean(values: list[float]) -> None:
    least = least_mean(np.array(values))
    assert min(values) - 1e-12 <= least <= np.mean(values) + 1e-12
    assert least_mean(np.array(values[:1])) == -math.inf
    assert least_mean(np.array([*values, np.nan])) == -math.inf


def test_rule_finds_the_number_that_decides() -> None:
    """Where varied sparsity pays below a dense proportion of 0.4 and dense networks above, that is what is found."""
    records = []
    for record in synthetic_records(14, noise=0.0):
        dense = dense_proportion(record.facts.n_inputs, record.facts.n_outputs, record.network.budget)
        wanted = 0.5 if dense <= 0.4 else dense
        score = 1 - abs(record.network.hidden_proportion - wanted) if record.network.densities else 0.0
        records.append(type(record)(**{**vars(record), "score": score, "curve": ()}))
    found = comparisons(records)
    rule = fit_rule(found)
    assert regrets(found, [rule.scores(one.facts, one.networks) for one in found]).mean() < 0.02
    below, above = (TaskFacts(n_inputs, 4, True, 10.0, False) for n_inputs in (800, 2))
    assert not rule.takes_dense(below, 5_000)
    assert rule.takes_dense(above, 5_000)
    assert fit_rule([one for one in found if one.task < "task-04"]) == Rule()


def test_rule_is_not_deceived_by_the_best_of_many_thresholds() -> None:
    """Where scores are noise alone, some threshold is better than none on the tasks that it was chosen by."""
    found = comparisons(synthetic_records(14, noise=0.0))
    generator = np.random.default_rng(0)
    taken = 0
    for _ in range(20):
        noisy = [
            dataclasses.replace(one, scores=tuple((value,) for value in generator.random(len(one.networks))))
            for one in found
        ]
        taken += fit_rule(noisy) != Rule()
    assert taken <= 5  # 9 where it is judged by the tasks that chose it


def test_what_a_rule_is_called() -> None:
    rule = Rule("inputs per output", 3.0, varied_above=True)
    assert str(Rule()) == "p = 0.5"
    assert str(rule).count("dense") >= 1


@settings(max_examples=50)
@given(st.integers(1, 3_000), st.integers(1, 50), st.integers(200, 300_000))
def test_proportion_of_a_dense_network(n_inputs: int, n_outputs: int, budget: int) -> None:
    try:
        actor, _ = specify_dense(n_inputs, n_outputs, budget)
    except Refusal:
        return
    rounding = 2 / actor.n_hidden  # of its hidden size, by half a unit
    assert dense_proportion(n_inputs, n_outputs, budget) == pytest.approx(actor.hidden_proportion, abs=rounding)


def test_proportion_where_no_dense_network_fits() -> None:
    assert dense_proportion(1_000, 10, 5_000) == 0.0


def test_law_of_the_tables_is_what_they_follow() -> None:
    facts = TaskFacts(20, 3, True, 10.0, False)
    shown = networks(facts, 3_000)
    best = max(shown, key=lambda network: score_of(facts, network))
    assert abs(best.hidden_proportion - best_proportion(facts, 3_000)) < 0.1


def test_committed_parent_is_that_of_the_committed_table() -> None:
    records = read_table(HOME / TABLE)
    text = (HOME / TABLE).read_text(encoding="utf-8")
    assert table_text(records) == text
    assert len(text) < 3_000_000
    parent = Parent.load()
    assert parent.version == f"{FORMAT}-{digest(text)}"
    assert {known.task for known in parent.tasks} == {one.task for one in comparisons(records)}
