import json
import re
import subprocess
import sys

import pytest
import torch
from data_files import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.gru_policy import GruSpecification
from policies.lstm_policy import LstmSpecification
from policies.network.architectures import (
    ARCHITECTURES,
    ActorCriticSpecification,
    format_table,
    oversize_warning,
    specify_architecture,
)
from policies.network.specification import BLOCKS, specify, specify_critic
from policies.sequence_policy import SequencePolicy


def refusal(*args, **options):
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as error:
        specify_architecture(*args, **options)
    return str(error.value)


def test_varied():
    specification = specify_architecture("varied", 46, 26, 50_000, hidden_proportion=0.3)
    assert specification.actor == specify(46, 26, 50_000, hidden_proportion=0.3)
    assert specification.critic == specify_critic(46, 50_000, hidden_proportion=0.3)


def test_varied_actor_alone_is_shaped_by_pins_and_hidden_size():
    options = {"hidden_proportion": 0.3, "hidden_size": 600, "densities": {"hx": 0.25}}
    specification = specify_architecture("varied", 46, 26, 50_000, **options)
    assert specification.actor == specify(46, 26, 50_000, **options)
    assert specification.critic == specify_critic(46, 50_000, hidden_proportion=0.3)


def test_varied_critic_of_six_densities_has_the_hidden_proportion_of_the_actor():
    densities = {"hx": 1.0, "hh": 0.2, "hy": 0.2, "yx": 1.0, "yh": 1.0, "yy": 0.2}
    specification = specify_architecture("varied", 39, 28, 10_000, densities=densities)
    assert specification.actor == specify(39, 28, 10_000, densities=densities)
    assert specification.critic.hidden_proportion == pytest.approx(specification.actor.hidden_proportion, abs=1e-4)
    assert specification.critic.total_weights == 10_000


@pytest.mark.parametrize(("architecture", "density"), [("uniform", 0.2), ("dense", 1.0)])
def test_equal_densities(architecture, density):
    specification = specify_architecture(architecture, 46, 26, 50_000)
    assert specification.actor == specify(46, 26, 50_000, densities=dict.fromkeys(BLOCKS, density))
    assert specification.actor.n_hidden == {"uniform": 452, "dense": 176}[architecture]
    assert specification.critic.n_outputs == 1
    assert [specification.critic.densities[block] for block in ("yx", "yh", "yy")] == [1, 1, 1]
    for block in ("hx", "hh", "hy"):
        assert specification.critic.densities[block] == pytest.approx(density, abs=2e-3)
    assert specification.critic.total_weights == pytest.approx(50_000, rel=0.01)


def test_uniform_density_is_an_option():
    sparse = specify_architecture("uniform", 46, 26, 50_000, uniform_density=0.05)
    assert sparse.actor == specify(46, 26, 50_000, densities=dict.fromkeys(BLOCKS, 0.05))
    assert specify_architecture("uniform", 46, 26, 50_000) == specify_architecture(
        "uniform", 46, 26, 50_000, uniform_density=0.2
    )


GATES = {"lstm": 4, "gru": 3}


@settings(max_examples=400)
@given(st.sampled_from(list(GATES)), st.integers(1, 3000), st.integers(1, 100), st.integers(1, 10_000_000))
def test_gated_cells_are_the_largest_that_fit(architecture, n_inputs, n_outputs, budget):
    def weights(n_hidden):
        return GATES[architecture] * n_hidden * (n_inputs + n_hidden) + n_hidden * n_outputs

    if budget < weights(1):
        message = refusal(architecture, n_inputs, n_outputs, budget)
        assert "budget" in message
        assert f"at least {weights(1):,} " in message
        return
    specification = specify_architecture(architecture, n_inputs, n_outputs, budget)
    actor, critic = specification.actor, specification.critic
    assert actor.total_weights == weights(actor.n_hidden) <= budget < weights(actor.n_hidden + 1)
    assert (critic.n_hidden, critic.n_outputs, critic.n_inputs) == (actor.n_hidden, 1, n_inputs)
    assert set(actor.densities.values()) == set(critic.densities.values()) == {1.0}


@pytest.mark.parametrize(("architecture", "module"), [("lstm", torch.nn.LSTM), ("gru", torch.nn.GRU)])
def test_counts_of_gated_cells_are_those_of_pytorch(architecture, module):
    actor = specify_architecture(architecture, 46, 26, 50_000).actor
    cell, head = module(46, actor.n_hidden), torch.nn.Linear(actor.n_hidden, 26)
    parameters = dict(cell.named_parameters()) | {f"head_{k}": v for k, v in head.named_parameters()}
    assert actor.total_weights == sum(p.numel() for name, p in parameters.items() if "weight" in name)
    assert actor.n_biases == sum(p.numel() for name, p in parameters.items() if "bias" in name)
    assert actor.shape("input") == tuple(cell.weight_ih_l0.shape)
    assert actor.shape("recurrent") == tuple(cell.weight_hh_l0.shape)


OPTIONS = {
    "hidden_proportion": (0.3, "hidden_proportion 0.3", {"varied"}),
    "hidden_size": (100, "hidden_size 100", {"varied"}),
    "densities": ({"hx": 0.5, "yy": 1.0}, "densities hx=0.5 yy=1.0", {"varied"}),
    "uniform_density": (0.3, "uniform_density 0.3", {"uniform"}),
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_options_that_do_not_apply(architecture, option):
    value, text, allowed = OPTIONS[option]
    if architecture in allowed:
        specify_architecture(architecture, 46, 26, 10_000, **{option: value if option != "hidden_size" else 236})
        return
    message = refusal(architecture, 46, 26, 10_000, **{option: value})
    assert message.startswith(f"{text} contradicts architecture {architecture}: ")
    assert message.endswith(f"architecture {next(iter(allowed))}")


@pytest.mark.parametrize("value", [0, -1, 1.5, float("nan"), float("inf"), True, "0.2"])
def test_uniform_densities_outside_their_range(value):
    assert "uniform_density" in refusal("uniform", 46, 26, 10_000, uniform_density=value)


@pytest.mark.parametrize("value", ["Dense", "rnn", "", None, 3])
def test_unknown_architectures(value):
    assert all(name in refusal(value, 46, 26, 10_000) for name in ("architecture", *ARCHITECTURES))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("sizes", [(0, 2, 1000), (4, None, 1000), (4, 2, "many"), (4, 2, 3)])
def test_sizes_and_budgets_that_do_not_fit(architecture, sizes):
    assert re.match(r"n_inputs|n_outputs|budget|hidden_proportion", refusal(architecture, *sizes))


def test_errors_name_the_options():
    assert refusal("varied", 46, 26, 50_000, hidden_size=10).startswith("hidden_size 10 is too small for budget 50,000")
    message = refusal("varied", 46, 26, 1000, densities={"yx": 1.0})
    assert re.fullmatch(r"densities yx=1\.0 does not fit .*: densities yx=\S+ or a budget of \S+ fits", message)
    assert "the critic" in refusal("varied", 46, 26, 1000, hidden_proportion=0.95)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_dictionary_round_trip(architecture):
    specification = specify_architecture(architecture, 46, 26, 50_000)
    data = json.loads(json.dumps(specification.to_dict()))
    assert ActorCriticSpecification.from_dict(data) == specification
    for change in (
        {"architecture": "rnn"},
        {"actor": None},
        {"surplus": 1},
        {"critic": data["critic"] | {"n_hidden": 7}},
    ):
        with pytest.raises(ValueError, match=r"\A[^\n]+\Z"):
            ActorCriticSpecification.from_dict(data | change)
    del data["critic"]
    with pytest.raises(ValueError, match="critic"):
        ActorCriticSpecification.from_dict(data)


@pytest.mark.parametrize(("architecture", "kind"), [("lstm", LstmSpecification), ("gru", GruSpecification)])
def test_gated_cells_have_no_sparse_blocks(architecture, kind):
    data = specify_architecture(architecture, 46, 26, 50_000).actor.to_dict()
    with pytest.raises(ValueError, match="recurrent"):
        kind.from_dict(data | {"weights": data["weights"] | {"recurrent": 5}})


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_table(architecture):
    specification = specify_architecture(architecture, 46, 26, 50_000)
    text = format_table(specification)
    actor, critic = text.index("actor: "), text.index("critic: ")
    for network, part in ((specification.actor, text[actor:critic]), (specification.critic, text[critic:])):
        assert f"{network.n_hidden:,} hidden units" in part
        assert f"hidden proportion {network.hidden_proportion:.4g}" in part
        lines = {line.split()[0]: line for line in part.splitlines() if line.strip()}
        for block in network.blocks:
            rows, columns = network.shape(block)
            cells = lines[block].split()[3:]
            density, share = f"{network.densities[block]:.4f}", f"{network.shares[block]:.1%}"
            assert cells == [str(rows), "x", str(columns), density, f"{network.weights[block]:,}", share]
        assert lines["total"].split() == ["total", f"{network.total_weights:,}", "100.0%"]
        assert len({len(lines[name]) for name in ("block", *network.blocks, "total")}) == 1
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80


def test_oversize_warning():
    assert oversize_warning(specify_architecture("varied", 46, 26, 50_000)) is None
    limit = 8 * (4 + 2) + 256
    at_limit = specify_architecture("varied", 4, 2, 4000, hidden_size=limit)
    above = specify_architecture("varied", 4, 2, 4000, hidden_size=limit + 1)
    assert oversize_warning(at_limit) is None
    assert oversize_warning(above) is not None


@pytest.mark.parametrize("architecture", ["varied", "uniform"])
def test_oversize_warning_names_a_budget_that_draws_none(architecture):
    warning = oversize_warning(specify_architecture(architecture, 4, 2, 50_000))
    assert warning is not None
    assert len(warning.splitlines()) == 1
    budget = int(re.search(r"budget of about ([\d,]+)", warning).group(1).replace(",", ""))
    smaller = specify_architecture(architecture, 4, 2, budget)
    assert smaller.actor.n_hidden <= 1.05 * (8 * (4 + 2) + 256)


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_entries_of_the_registry(architecture):
    specification = specify_architecture(architecture.name, 5, 3, 500)
    policy = architecture.policy_class
    assert issubclass(policy, SequencePolicy)
    assert type(specification.actor) is type(specification.critic) is architecture.specification_class
    assert re.fullmatch("#[0-9a-f]{6}", architecture.colour)
    for name in ("title", "colour"):
        assert len({getattr(other, name) for other in ARCHITECTURES.values()}) == len(ARCHITECTURES)


def test_specification_needs_neither_torch_nor_gymnasium():
    code = "import sys, policies.network.architectures; print(*{'torch', 'gymnasium', 'numpy'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
