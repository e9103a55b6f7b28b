"""What is left to the parent: ranked, resolved, recorded; in Python, on the command lines, in runs and studies."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import optuna
import pytest
import yaml
from synthetic_tables import synthetic_records

import specify
import sweep
import train as train_command
from agents.command_line import run
from agents.configuration import TrainingConfiguration, configure, from_yaml, to_yaml
from agents.errors import TrainingStopped
from agents.recommendation.parent import FEWEST_TASKS, Parent, learn
from agents.recommendation.ranking import SHOWN, format_ranking
from agents.recommendation.recommend import (
    BUDGETS,
    PROPORTIONS,
    WORTH,
    facts_of,
    is_open,
    left_open,
    recommend,
    resolved,
)
from agents.recommendation.rule import Rule
from agents.studies.definition import read_study
from agents.studies.planning import plan_study
from agents.studies.samplers import APART, SAMPLERS, STARTS, Distribution, Start, starting_points
from policies.refusal import Refusal

TINY = {
    "total_timesteps": 256, "n_envs": 4, "n_steps": 32, "batch_size": 128, "eval_every": 256, "eval_episodes": 1,
    "budget": 600, "progress": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a parent that knows enough to choose for CartPole."""
    folder = tmp_path_factory.mktemp("parent")
    learn(synthetic_records(16)).save(folder)
    return folder


def cartpole(folder: Path, **options: object) -> TrainingConfiguration:
    return configure("CartPole-v1", **{**TINY, "parent": str(folder), **options})


def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, module: object, *words: str):
    monkeypatch.setattr(sys, "argv", [module.__name__, *words])
    code = 0
    try:
        run(module.main)
    except SystemExit as end:
        code = int(end.code or 0)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_networks_are_ranked_by_their_prediction(folder: Path) -> None:
    found = recommend(cartpole(folder, architecture="auto"))
    assert found.doubt is None
    assert {candidate.network.architecture for candidate in found.ranked} == {
        "varied",
        "uniform",
        "dense",
        "lstm",
        "gru",
    }
    scores = [candidate.score for candidate in found.ranked]
    assert scores == sorted(scores, reverse=True)
    # By the law a network near p = 0.6 is best, as a dense one of four inputs and two outputs has p = 0.7 here.
    assert 0.4 <= found.ranked[0].network.hidden_proportion <= 0.8
    low, high = found.interval(found.ranked[0])
    assert 0 <= low < scores[0]
    assert low < high <= 1
    assert len({known.task for known in found.nearest}) == 3
    varied = recommend(cartpole(folder, hidden_proportion="auto"))
    assert {candidate.fields["hidden_proportion"] for candidate in varied.ranked} <= set(PROPORTIONS)
    assert json.loads(json.dumps(varied.to_dict()))["networks"][0]["score"] == varied.ranked[0].score


def test_smallest_budget_that_is_about_as_good(folder: Path) -> None:
    found = recommend(cartpole(folder, hidden_proportion="auto", budget="auto"))
    best = {}
    for budget in BUDGETS:
        fitting = recommend(cartpole(folder, hidden_proportion="auto", budget=budget))
        if fitting.doubt is None:
            best[budget] = fitting.ranked[0].score
    assert len(best) > 3
    chosen = found.ranked[0].network.budget
    assert best[chosen] >= max(best.values()) - WORTH
    assert all(score < max(best.values()) - WORTH for budget, score in best.items() if budget < chosen)
    # With a given architecture and proportion the budget alone is open.
    fields = recommend(cartpole(folder, budget="auto", hidden_proportion=0.3)).fields
    assert (fields["hidden_proportion"], fields["architecture"]) == (0.3, "varied")


def test_resolved_configuration_has_numbers_and_names_the_parent(folder: Path) -> None:
    given = cartpole(folder, hidden_proportion="auto")
    assert is_open(given)
    found = resolved(given)
    assert not is_open(found)
    assert found.hidden_proportion in PROPORTIONS
    assert found.recommended_by == Parent.load(folder).version
    assert resolved(found) is found


def test_thin_table_lets_the_rule_decide(tmp_path: Path) -> None:
    parent = dataclasses.replace(learn(synthetic_records(4)), rule=Rule())
    parent.save(tmp_path)
    found = recommend(configure("CartPole-v1", hidden_proportion="auto", budget="auto", parent=str(tmp_path)))
    assert found.doubt == f"the table holds 4 tasks, of which at least {FEWEST_TASKS} are needed"
    assert found.fields == {
        "architecture": "varied", "hidden_proportion": 0.5, "budget": 1_500,
        "recommended_by": f"rule of {parent.version}",
    }  # fmt: skip
    assert "by the rule" in found.sentence
    assert found.ranked[0].score is None


def test_a_choice_that_is_not_better_than_the_rule_is_the_rules(folder: Path, tmp_path: Path) -> None:
    known = Parent.load(folder)
    assert known.lead > 0
    dataclasses.replace(known, lead=-0.01).save(tmp_path)
    found = recommend(cartpole(tmp_path, hidden_proportion="auto"))
    assert found.doubt == "on 16 tasks, each left out once, its choice is not better than the rule's for sure"
    assert found.fields["recommended_by"] == f"rule of {known.version}"
    assert "not by the parent" in found.sentence
    # What it predicts holds all the same, and the rule's choice may be anywhere in it.
    by_prediction = recommend(cartpole(folder, hidden_proportion="auto"))
    assert {one.network.title: one.score for one in found.ranked} == {
        one.network.title: one.score for one in by_prediction.ranked
    }
    rows = format_ranking(found).splitlines()[3 : 3 + SHOWN]
    scores = [float(row.split()[-4]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    # The budget is the smallest at which the rule's choice is predicted to come about as far as at any other.
    predicted = {}
    for budget in BUDGETS:
        one = recommend(cartpole(tmp_path, hidden_proportion="auto", budget=budget)).ranked[0]
        if one.score is not None:
            predicted[budget] = one.score
    smallest = min(budget for budget, score in predicted.items() if score >= max(predicted.values()) - WORTH)
    assert recommend(cartpole(tmp_path, hidden_proportion="auto", budget="auto")).ranked[0].network.budget == smallest
    assert found.to_dict()["recommended"]["hidden_proportion"] == found.ranked[0].fields["hidden_proportion"]


def test_weights_that_move_need_a_network_with_room(folder: Path) -> None:
    found = recommend(cartpole(folder, architecture="auto", rebalance="momentum"))
    assert {candidate.network.architecture for candidate in found.ranked} == {"varied", "uniform"}
    chosen = resolved(cartpole(folder, architecture="auto", rebalance="momentum"))
    assert from_yaml(to_yaml(chosen)).architecture == chosen.architecture


def test_what_is_ranked_is_what_nobody_gave() -> None:
    assert left_open({}) == {"architecture": "auto"}
    assert left_open({"architecture": "varied"}) == {"hidden_proportion": "auto"}
    assert left_open({"hidden_size": 200}) == {"hidden_proportion": "auto"}
    assert left_open({"architecture": "lstm"}) == {}
    assert left_open({"architecture": "nonsense"}) == left_open({"architecture": ["varied"]}) == {}
    assert left_open({"hidden_proportion": 0.3, "architecture": "varied"}) == {}


CONTRADICTIONS = {
    "proportion of dense": ({"architecture": "dense", "hidden_proportion": "auto"}, "contradicts architecture dense"),
    "proportion given": ({"architecture": "auto", "hidden_proportion": 0.3}, "contradicts architecture auto"),
    "size given": ({"architecture": "auto", "hidden_size": 20}, "hidden_size contradicts architecture auto"),
    "density given": ({"architecture": "auto", "densities": {"hh": 0.5}}, "densities contradicts architecture auto"),
    "nothing fits": ({"architecture": "auto", "budget": 5}, "budget 5 is too small"),
    "no parent": ({"hidden_proportion": "auto", "parent": "no/such/folder"}, "no/such/folder holds no parent.npz"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradictions_are_refused(name: str, folder: Path) -> None:
    options, said = CONTRADICTIONS[name]
    with pytest.raises(Refusal, match=said):
        recommend(cartpole(folder, **options))


def test_length_of_an_episode_is_the_limit_or_played() -> None:
    assert facts_of(configure("CartPole-v1")).episode_length == 500
    facts = facts_of(configure("RandomAnomaly-v0", env_arguments={"image_size": 8, "sequence_length": 4}))
    assert (facts.n_inputs, facts.n_outputs, facts.chooses, facts.episode_length) == (64, 4, True, 5.0)


def test_environment_that_raises_while_it_is_tried_is_named() -> None:
    import faulty  # noqa: F401 registers

    with pytest.raises(TrainingStopped, match="Faulty-v0 failed when a few episodes were played") as stopped:
        facts_of(configure("Faulty-v0", env_arguments={"fault": "exception", "step": 1}))
    assert isinstance(stopped.value.__cause__, ZeroDivisionError)


def test_demonstrations_first_are_another_matter(folder: Path) -> None:
    given = cartpole(folder, hidden_proportion="auto")
    assert recommend(given).doubt is None
    found = recommend(given.model_copy(update={"demos": "some/data"}))
    assert found.doubt == "no task of the table has choices and demonstrations"
    assert found.fields["hidden_proportion"] == 0.5


def test_run_records_what_was_chosen_and_resumes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items() if name != "progress"]
    words = ["--env", "CartPole-v1", *options, "--no-progress", "--hidden-proportion", "auto", "--run-name", "first"]
    code, printed, _ = call(capsys, monkeypatch, train_command, *words, "--parent", str(folder))
    assert code == 0
    kept = yaml.safe_load((tmp_path / "logs/CartPole-v1/first/config.yaml").read_text())
    assert kept["hidden_proportion"] in PROPORTIONS
    assert kept["recommended_by"] == Parent.load(folder).version
    assert f"recommended: varied, p = {kept['hidden_proportion']}" in printed

    resume = ["--resume", "logs/CartPole-v1/first", "--total-timesteps", "512"]
    assert call(capsys, monkeypatch, train_command, *resume, "--hidden-proportion", "auto")[0] == 2
    (folder / "parent.npz").rename(folder / "away.npz")  # nobody is asked again
    try:
        assert call(capsys, monkeypatch, train_command, *resume)[0] == 0
    finally:
        (folder / "away.npz").rename(folder / "parent.npz")
    again = yaml.safe_load((tmp_path / "logs/CartPole-v1/first/config.yaml").read_text())
    assert {name: again[name] for name in again if name != "total_timesteps"} == {
        name: kept[name] for name in kept if name != "total_timesteps"
    }
    # A file of options is not a choice of the parent's.
    words = ["--config", "logs/CartPole-v1/first/config.yaml", "--run-name", "second", "--hidden-proportion", "0.6"]
    assert call(capsys, monkeypatch, train_command, *words)[0] == 0
    other = yaml.safe_load((tmp_path / "logs/CartPole-v1/second/config.yaml").read_text())
    assert (other["hidden_proportion"], other["recommended_by"]) == (0.6, None)


def test_a_network_that_nobody_could_choose_is_said_to_be_the_only_one(folder: Path) -> None:
    found = recommend(cartpole(folder, architecture="gru", hidden_proportion=None, budget=600))
    assert found.sentence.endswith("the only network that the options leave")


def test_specify_shows_the_ranking(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--env", "CartPole-v1", "--budget", "600", "--total-timesteps", "1000", "--parent", str(folder)]
    code, printed, _ = call(capsys, monkeypatch, specify, *words, "--recommend")
    assert code == 0
    assert "90% interval" in printed
    assert "the nearest of the 16 tasks" in printed
    code, printed, _ = call(capsys, monkeypatch, specify, *words, "--recommend", "--json")
    ranked = json.loads(printed)["networks"]
    assert ranked[0]["score"] >= ranked[-1]["score"]
    code, printed, _ = call(capsys, monkeypatch, specify, *words, "--architecture", "auto", "--json")
    assert json.loads(printed)["architecture"] == ranked[0]["architecture"]
    code, _, errors = call(capsys, monkeypatch, specify, "--inputs", "4", "--outputs", "2", "--recommend")
    assert (code, errors.count("\n")) == (2, 1)
    assert "--env is needed" in errors


STUDY = """
env: CartPole-v1
options:
  {budget: 600, total_timesteps: 256, n_envs: 4, n_steps: 32, batch_size: 128, eval_every: 256, eval_episodes: 1,
   parent: FOLDER}
sampler: grid
parameters:
  hidden_proportion: [auto, 0.3]
"""


def test_study_plans_what_is_chosen(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY.replace("FOLDER", str(folder)))
    plan = plan_study(read_study(tmp_path / "study.yaml"))
    assert [cell.parameters["hidden_proportion"] for cell in plan.cells] == ["auto", 0.3]
    chosen, given = (plan.configuration(cell, cell.parameters) for cell in plan.cells)
    assert chosen.hidden_proportion in PROPORTIONS
    assert (chosen.recommended_by, given.recommended_by) == (Parent.load(folder).version, None)


@pytest.mark.slow
def test_study_goes_the_way_to_a_parent_of_its_own(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run with what the parent chose, shown as numbers, learned from, and asked again."""
    monkeypatch.chdir(tmp_path)
    text = STUDY.replace("FOLDER", str(folder)).replace("[auto, 0.3]", "[auto, 0.15, 0.35, 0.75]")
    Path("study.yaml").write_text(text)
    assert call(capsys, monkeypatch, sweep, "worker", "study.yaml")[0] == 0
    code, printed, _ = call(capsys, monkeypatch, sweep, "show", "study.yaml", "--trial", "0")
    assert code == 0
    words = printed.split()
    assert float(words[words.index("--hidden-proportion") + 1]) in PROPORTIONS

    code, printed, errors = call(capsys, monkeypatch, sweep, "learn", "study.yaml")
    assert (code, errors) == (0, "")
    assert "study: 4 trainings" in printed
    laboratory = Parent.load(Path("studies/parent"))
    assert laboratory.n_tasks == Parent.load().n_tasks + 1
    assert "CartPole-v1" in [known.task for known in laboratory.tasks]
    table = Path("studies/parent/records.csv").read_text()
    # The same study again, from the folder of its report, takes the place of what is there.
    assert call(capsys, monkeypatch, sweep, "report", "study.yaml", "--out", "study")[0] == 0
    code, printed, _ = call(capsys, monkeypatch, sweep, "learn", "study")
    assert (code, "trainings, in place of" in printed) == (0, True)
    assert Path("studies/parent/records.csv").read_text() == table
    # So it does from where it is written if nothing is said.
    shutil.copytree("study", "elsewhere/study/report")
    assert call(capsys, monkeypatch, sweep, "learn", "elsewhere/study/report")[0] == 0
    assert Path("studies/parent/records.csv").read_text() == table
    found = resolved(cartpole(Path("studies/parent"), hidden_proportion="auto"))
    assert found.recommended_by == f"rule of {laboratory.version}"
    for bad in (["learn", "nothing"], ["learn", "."], ["learn", "study", "study"]):
        code, _, errors = call(capsys, monkeypatch, sweep, *bad)
        assert (code, errors.count("\n")) == (2, 1), errors


DRAWN = {
    "hidden_proportion": Distribution("uniform", 0.02, 0.98),
    "budget": Distribution("choice", values=(300, 600)),
}


def test_sampler_begins_with_the_parents_choices(folder: Path) -> None:
    def configured(point: dict) -> TrainingConfiguration:
        return cartpole(folder, **point)

    points = starting_points(DRAWN, configured)
    assert len(points) == STARTS
    for place, point in enumerate(points):
        for other in points[:place]:
            apart = abs(point["hidden_proportion"] - other["hidden_proportion"]) / 0.96
            assert point["budget"] != other["budget"] or apart >= APART
    best = recommend(cartpole(folder, hidden_proportion="auto", budget=points[0]["budget"])).ranked[0]
    parent, facts = Parent.load(folder), facts_of(cartpole(folder))
    first = recommend(configured(points[0])).ranked[0].network
    (predicted,) = parent.predict(facts, TINY["total_timesteps"], [first])
    assert predicted >= best.score - 0.05

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    for number in (0, STARTS - 1, STARTS):
        trial = study.ask()
        proposed = SAMPLERS["parent"].propose(DRAWN, Start(study, trial, number, number, configured))
        assert trial.params == proposed
        if number < STARTS:  # the same again, whoever asks
            assert proposed == points[number]
        study.tell(trial, -abs(proposed["hidden_proportion"] - 0.9))
    assert proposed not in points


def test_default_asks_nobody() -> None:
    given = configure("CartPole-v1")
    assert resolved(given) is given
    assert (given.hidden_proportion, given.architecture, given.recommended_by) == (None, "varied", None)
