"""Study files: what is read, what is refused with file, line and key, and the cells that are planned."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.command_line import OneLineParser, add_training_options, training_options
from agents.configuration import configure
from agents.studies.command import options_of
from agents.studies.definition import StudyDefinition, read_study
from agents.studies.ledger import recorded
from agents.studies.planning import plan_study
from agents.studies.samplers import SAMPLERS, Distribution, Parameter, Sampler
from agents.yaml_file import Scalar
from policies.network.specification import BLOCKS
from policies.refusal import Refusal

GRID = """
env: CartPole-v1
seeds: [0, 1]
options: {budget: 300, total_timesteps: 1024, n_steps: 64, batch_size: 128, n_envs: 4}
sampler: grid
parameters:
  architecture: [varied, dense]
  hidden_proportion: [0.3, 0.99]
"""
DRAWN = """
env: CartPole-v1
seed: 5
options: {budget: 1000}
groups:
  paper:
    sampler: random
    trials: 40
    parameters: {densities: {normal: [0.5, 0.25], clip: [0.02, 1]}}
  proportions:
    sampler: random
    trials: 20
    parameters: {hidden_proportion: {uniform: [0.1, 0.9]}, learning_rate: {log_uniform: [1e-4, 1e-2]}}
"""
TPE = """
env: CartPole-v1
sampler: tpe
trials: 3
parameters: {n_epochs: {integers: [1, 4]}, activation: {choice: [relu, tanh]}}
"""


def study(tmp_path: Path, text: str, name: str = "study.yaml") -> StudyDefinition:
    (tmp_path / name).write_text(text)
    return read_study(tmp_path / name)


BAD_STUDIES = {
    "unknown key": ("env: CartPole-v1\nsamplr: grid\n", 2, "samplr"),
    "unknown key in a group": (
        "env: CartPole-v1\ngroups:\n  a:\n    sampler: grid\n    trails: 3\n",
        5,
        "groups.a.trails",
    ),
    "unknown option": ("env: CartPole-v1\nsampler: grid\noptions:\n  bugdet: 3\n", 4, "options.bugdet"),
    "unknown parameter": ("env: CartPole-v1\nsampler: grid\nparameters:\n  bugdet: [3]\n", 4, "parameters.bugdet"),
    "object tag": ("env: CartPole-v1\nname: !!python/object/apply:os.system [id]\n", 2, "name"),
    "own tag": ("env: CartPole-v1\nseed: !seed 3\n", 2, "seed"),
    "tag at the top": ("!!python/object:os.PathLike\nenv: CartPole-v1\n", 1, ""),
    "tagged name": ("env: CartPole-v1\n!!python/name:os.system : 3\n", 2, ""),
    "timestamp": ("env: CartPole-v1\nname: 2020-01-01\n", 2, "name"),
    "alias": ("env: CartPole-v1\noptions: &o {budget: 300}\nsampler: grid\nparameters: *o\n", 4, "parameters"),
    "merge": ("env: CartPole-v1\nsampler: grid\n<<: {seed: 3}\n", 3, ""),
    "given twice": ("env: CartPole-v1\nsampler: grid\nseed: 1\nseed: 2\n", 4, "seed"),
    "no YAML": ("env: CartPole-v1\nseeds: [0\n", 3, ""),
    "no table": ("- env\n", 1, ""),
    "no environment": ("sampler: grid\n", 1, ""),
    "unknown environment": ("env: CartPol-v1\nsampler: grid\n", 1, "env"),
    "module": ("env: this:CartPole-v1\nsampler: grid\n", 1, "env"),
    "unknown sampler": ("env: CartPole-v1\nsampler: gird\n", 2, "sampler"),
    "no sampler": ("env: CartPole-v1\nparameters: {budget: [300]}\n", 1, ""),
    "option that does not fit": ("env: CartPole-v1\nsampler: grid\noptions:\n  budget: many\n", 4, "options.budget"),
    "value that does not fit": (
        "env: CartPole-v1\nsampler: grid\nparameters:\n  budget: [300, -1]\n",
        4,
        "parameters.budget[1]",
    ),
    "own field": ("env: CartPole-v1\nsampler: grid\noptions: {seed: 3}\n", 3, "options.seed"),
    "preset's field": ("env: CartPole-v1\nsampler: grid\noptions: {log_std_init: 0.1}\n", 3, "options.log_std_init"),
    "value without list": ("env: CartPole-v1\nsampler: grid\nparameters: {budget: 300}\n", 3, "parameters.budget"),
    "value twice": ("env: CartPole-v1\nsampler: grid\nparameters: {budget: [300, 300]}\n", 3, "parameters.budget[1]"),
    "grid that draws": (
        "env: CartPole-v1\nsampler: grid\nparameters: {hidden_proportion: {uniform: [0, 1]}}\n",
        3,
        "parameters.hidden_proportion",
    ),
    "bounds in the wrong order": (
        "env: CartPole-v1\nsampler: random\ntrials: 2\nparameters: {hidden_proportion: {uniform: [0.9, 0.1]}}\n",
        4,
        "parameters.hidden_proportion.uniform",
    ),
    "bounds that do not fit": (
        "env: CartPole-v1\nsampler: random\ntrials: 2\nparameters: {hidden_proportion: {uniform: [0.1, 1.1]}}\n",
        4,
        "parameters.hidden_proportion.uniform",
    ),
    "unclipped density": (
        "env: CartPole-v1\nsampler: random\ntrials: 2\nparameters: {densities.hh: {normal: [0.5, -1]}}\n",
        4,
        "parameters.densities.hh.normal",
    ),
    "unknown block": (
        "env: CartPole-v1\nsampler: grid\nparameters: {densities.zz: [0.5]}\n",
        3,
        "parameters.densities.zz",
    ),
    "density twice": (
        "env: CartPole-v1\nsampler: random\ntrials: 2\n"
        "parameters: {densities.hh: [0.5], densities: {uniform: [0.1, 1]}}\n",
        4,
        "parameters.densities",
    ),
    "tpe through a list": ("env: CartPole-v1\nsampler: tpe\ntrials: 2\n"
                           "parameters: {budget: [300], learning_rate: {log_uniform: [1e-4, 1e-2]}}\n",
                           4, "parameters.budget"),
    "tpe with several seeds": (
        "env: CartPole-v1\ngroups:\n  a:\n    sampler: tpe\n    trials: 2\n    seeds: [0, 1]\n"
        "    parameters: {learning_rate: {log_uniform: [1e-4, 1e-2]}}\n",
        6,
        "groups.a.seeds",
    ),
    "option that needs another": (
        "env: CartPole-v1\nsampler: grid\noptions: {demo_epochs: 3, budget: 300}\n",
        3,
        "options.demo_epochs",
    ),
    "no number of trials": (
        "env: CartPole-v1\nsampler: random\nparameters: {learning_rate: {uniform: [0.1, 1]}}\n",
        1,
        "",
    ),
    "not finite": ("env: CartPole-v1\nsampler: grid\noptions: {gamma: .nan}\n", 3, "options.gamma"),
    "too many": ("env: CartPole-v1\nsampler: random\ntrials: 9999999\n"
                 "parameters: {learning_rate: {uniform: [0.1, 1]}}\n", 3, "trials"),
    "pruning": ("env: CartPole-v1\nsampler: grid\npruning: {percentile: 100}\n", 3, "pruning.percentile"),
    "workers": ("env: CartPole-v1\nsampler: grid\nworkers: 0\n", 3, "workers"),
    "name that is a path": ("env: CartPole-v1\nsampler: grid\nname: ../other\n", 3, "name"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_STUDIES)
def test_bad_study_names_file_line_and_key(case: str, tmp_path: Path) -> None:
    text, line, key = BAD_STUDIES[case]
    with pytest.raises(ValueError, match="study.yaml") as caught:
        study(tmp_path, text)
    message = str(caught.value)
    assert f"study.yaml, line {line}" in message
    assert f"key {key!r}" in message if key else True
    assert "\n" not in message


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"\x00", b"a: \x07", b"[" * 5000, b"9" * 6000])
def test_what_is_no_text_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_bytes(content)
    with pytest.raises(ValueError, match="study.yaml") as caught:
        read_study(tmp_path / "study.yaml")
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="cannot be read"):
        read_study(tmp_path)


SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
KEYS = st.sampled_from(
    ["env", "name", "seed", "seeds", "options", "sampler", "trials", "parameters", "groups", "pruning", "score"]
)


@settings(max_examples=150)
@given(st.dictionaries(KEYS, VALUES, max_size=5), st.binary(max_size=30))
def test_any_file_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, object], tail: bytes
) -> None:
    file = tmp_path_factory.mktemp("any") / "study.yaml"
    for data in (yaml.safe_dump({"env": "CartPole-v1", "sampler": "grid"} | content).encode(), tail):
        file.write_bytes(data)
        try:
            definition = read_study(file)
        except ValueError as error:
            assert "\n" not in str(error)
        else:
            assert definition.env == "CartPole-v1"


def test_grid_is_planned_and_what_does_not_fit_is_listed(tmp_path: Path) -> None:
    plan = plan_study(study(tmp_path, GRID))
    assert [cell.id for cell in plan.cells] == ["all-0000-seed0", "all-0000-seed1"]
    assert dict(plan.cells[0].parameters) == {"architecture": "varied", "hidden_proportion": 0.3}
    assert set(plan.infeasible) == {"all-0001", "all-0002", "all-0003"}
    assert "hidden_proportion 0.99" in plan.infeasible["all-0001"]
    assert "contradicts architecture dense" in plan.infeasible["all-0002"]
    assert plan.configuration(plan.cells[1], plan.cells[1].parameters).seed == 1


def test_nothing_feasible_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="no cell is feasible"):
        plan_study(study(tmp_path, GRID.replace("[0.3, 0.99]", "[0.99]")))


def test_plan_follows_from_the_file_alone(tmp_path: Path) -> None:
    one, two = plan_study(study(tmp_path, DRAWN)), plan_study(study(tmp_path, DRAWN, "other.yaml"))
    assert one.cells == two.cells
    assert len({cell.id for cell in one.cells}) == len(one.cells)
    other = plan_study(study(tmp_path, DRAWN.replace("seed: 5", "seed: 6")))
    assert other.cells != one.cells
    # Neither more draws nor another group move what is drawn already.
    longer = plan_study(study(tmp_path, DRAWN.replace("trials: 20", "trials: 30").replace("  paper", "  printed")))
    kept = [cell for cell in one.cells if cell.group == "proportions"]
    assert [cell for cell in longer.cells if cell.group == "proportions"][: len(kept)] == kept


def test_paper_draw(tmp_path: Path) -> None:
    plan = plan_study(study(tmp_path, DRAWN.replace("trials: 40", "trials: 400").replace("1000", "5000")))
    drawn = [cell.parameters for cell in plan.cells if cell.group == "paper"]
    assert all(set(parameters) == {f"densities.{block}" for block in BLOCKS} for parameters in drawn)
    values = np.array([list(parameters.values()) for parameters in drawn], dtype=float)
    assert values.min() == 0.02
    assert values.max() == 1.0
    assert np.mean((values == 0.02) | (values == 1.0)) == pytest.approx(0.05, abs=0.02)
    assert np.median(values) == pytest.approx(0.5, abs=0.03)
    correlations = np.corrcoef(values.T) - np.eye(6)
    assert np.abs(correlations).max() < 0.2
    configuration = plan.configuration(plan.cells[0], plan.cells[0].parameters)
    assert configuration.hidden_proportion is None
    assert len(configuration.densities) == 6


@settings(max_examples=40)
@given(st.floats(1e-6, 1e3), st.floats(1.001, 1e3), st.integers(0, 2**32))
def test_draws_stay_within_bounds(low: float, factor: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    high = low * factor
    for kind in ("uniform", "log_uniform"):
        value = Distribution(kind, low, high).draw(generator)
        assert isinstance(value, float)
        assert low <= value <= high
    drawn = Distribution("normal", low, high, mean=high, std=factor).draw(generator)
    assert isinstance(drawn, float)
    assert low <= drawn <= high
    number = Distribution("integers", -3, 4).draw(generator)
    assert number in range(-3, 5)
    assert type(number) is int


class Middle(Sampler):
    """Takes the middle of every interval."""

    draws = True

    def complaint(self, parameter: Parameter) -> str | None:
        return "is a list" if isinstance(parameter, tuple) else None

    def draw(self, drawn: Mapping[str, Distribution], generator: np.random.Generator) -> dict[str, Scalar]:
        return {name: (distribution.low + distribution.high) / 2 for name, distribution in drawn.items()}


def test_new_sampler_is_one_class_and_its_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SAMPLERS, "random", Middle())
    plan = plan_study(study(tmp_path, DRAWN))
    own = [cell.parameters for cell in plan.cells if cell.group == "proportions"]
    assert len(own) == 20
    assert all(parameters["hidden_proportion"] == 0.5 for parameters in own)
    with pytest.raises(Refusal, match="key 'groups.proportions.parameters.budget': is a list"):
        study(tmp_path, DRAWN.replace("{hidden_proportion:", "{budget: [500, 900], hidden_proportion:"))


def test_each_value_is_crossed_with_each_draw(tmp_path: Path) -> None:
    text = DRAWN.replace("{hidden_proportion:", "{budget: [500, 900], hidden_proportion:")
    plan = plan_study(study(tmp_path, text))
    own = [cell.parameters for cell in plan.cells if cell.group == "proportions"]
    assert len(own) == 40
    assert sum(parameters["budget"] == 500 for parameters in own) == 20
    assert len({parameters["hidden_proportion"] for parameters in own}) == 40


def test_options_of_demonstrations_need_them_wherever_they_stand(tmp_path: Path) -> None:
    text = "env: CartPole-v1\noptions: {demos_only: true, demos: some/data-v0}\nsampler: grid\n"
    (group,) = study(tmp_path, text + "parameters: {demo_episodes: [5, 25]}\n").groups
    assert group.options == {"demos_only": True, "demos": "some/data-v0"}


def test_group_may_have_seeds_of_its_own(tmp_path: Path) -> None:
    plan = plan_study(study(tmp_path, DRAWN.replace("trials: 20", "trials: 2\n    seeds: [3, 4]")))
    own = [(cell.configuration_id, cell.seed) for cell in plan.cells if cell.group == "proportions"]
    assert own == [(f"proportions-000{index}", seed) for seed in (3, 4) for index in range(2)]


def test_tpe_cells_are_planned_without_parameters(tmp_path: Path) -> None:
    plan = plan_study(study(tmp_path, TPE))
    assert len(plan.cells) == 3
    assert all(not cell.parameters for cell in plan.cells)


OPTIONS = """
env: RandomAnomaly-v0
options:
  env_arguments: {kinds: "none,blur"}
  learning_rate: 1e-4
  densities: {hx: 0.05}
groups:
  a: {sampler: grid, parameters: {env_arguments.sequence_length: [5], init: ["normal:0.1", scaled]}}
"""
NONE = """
env: AdroitHandDoor-v1
options: {target_kl: null, training_episode_steps: null}
groups:
  a: {sampler: grid, parameters: {hidden_proportion: [0.5]}}
"""


def test_shown_command_gives_the_same_configuration(tmp_path: Path) -> None:
    for plan in (plan_study(study(tmp_path, text)) for text in (DRAWN, OPTIONS, NONE)):
        for cell in plan.cells[::7]:
            planned = plan.configuration(cell, cell.parameters)
            parser = OneLineParser()
            add_training_options(parser)
            words = options_of(recorded(planned))
            again = configure(**training_options(parser.parse_args(words)))
            assert again.model_copy(update={"progress": False}) == planned


def test_extremes_of_an_unbounded_normal() -> None:
    assert Distribution("normal", mean=0.5, std=1).extremes() == (0.5,)
    assert Distribution("integers", 1, 4).extremes() == (1, 4)
    assert Distribution("normal", 0.1, math.inf, mean=0.5, std=1).extremes() == (0.1,)
