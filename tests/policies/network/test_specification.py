import csv
import itertools
import json
import math
import time

import numpy as np
import pytest
from data_files import PUBLISHED_CONFIGURATIONS
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from policies.network.specification import BLOCKS, OUTER_BLOCKS, NetworkSpecification, specify, specify_critic

sizes = st.one_of(st.integers(1, 30), st.integers(1, 3000))
budgets = st.one_of(st.integers(1, 400), st.integers(1, 20_000), st.integers(1, 10_000_000))
proportions = st.one_of(st.floats(0.01, 0.99), st.floats(0, 1, exclude_min=True, exclude_max=True))
small_sizes = st.integers(1, 20)
small_budgets = st.integers(1, 3000)
some_densities = st.dictionaries(st.sampled_from(BLOCKS), st.one_of(st.floats(0.02, 1), st.just(1.0)), max_size=5)


def block_sizes(n_inputs, n_hidden, n_outputs):
    return {
        "hx": n_hidden * n_inputs,
        "hh": n_hidden * n_hidden,
        "hy": n_hidden * n_outputs,
        "yx": n_outputs * n_inputs,
        "yh": n_outputs * n_hidden,
        "yy": n_outputs * n_outputs,
    }


def floors(n_outputs):
    return {"hx": 1, "hh": 1, "hy": 1, "yx": 1, "yh": n_outputs, "yy": 1}


def holds(n_inputs, n_hidden, n_outputs, budget, n_hh, pins):
    """Say by plain counting whether a hidden size can hold exactly the budget, hh with n_hh weights and the pins."""
    size, floor = block_sizes(n_inputs, n_hidden, n_outputs), floors(n_outputs)
    fewest = most = n_hh
    for block in OUTER_BLOCKS:
        pinned = max(floor[block], round(pins[block] * size[block])) if block in pins else None
        fewest += floor[block] if pinned is None else pinned
        most += size[block] if pinned is None else pinned
    return 1 <= n_hh <= n_hidden**2 and fewest <= budget <= most


def smallest_hidden_size(n_inputs, n_outputs, budget, proportion, pins):
    n_hh = round(proportion * budget)
    candidates = range(1, budget + 1)
    if "hh" in pins:
        wanted = round(math.sqrt(n_hh / pins["hh"]))
        candidates = [max(wanted, math.ceil(math.sqrt(n_hh)))]
    return next((h for h in candidates if 0 < h <= budget and holds(n_inputs, h, n_outputs, budget, n_hh, pins)), None)


def check(specification, proportion=None):
    """What every specification that meets its budget exactly must be."""
    assert sum(specification.weights.values()) == specification.total_weights == specification.budget
    check_blocks(specification)
    if proportion is not None:
        assert abs(specification.hidden_proportion - proportion) <= 1 / specification.budget


def check_blocks(specification):
    size = block_sizes(specification.n_inputs, specification.n_hidden, specification.n_outputs)
    assert tuple(specification.weights) == tuple(specification.densities) == BLOCKS
    for block in BLOCKS:
        assert math.prod(specification.shape(block)) == size[block]
        assert specification.weights[block] >= floors(specification.n_outputs)[block]
        assert 0 < specification.densities[block] <= 1
        assert specification.densities[block] == specification.weights[block] / size[block]


def refusal(*args, **options):
    """Return the error of a request, which must be one line, or None if it can be met."""
    try:
        specify(*args, **options)
    except ValueError as error:
        message = str(error)
    else:
        return None
    assert len(message.splitlines()) == 1
    return message


def published_rows():
    with PUBLISHED_CONFIGURATIONS.open() as file:
        return list(csv.DictReader(file))


def test_published_hidden_sizes():
    rows = published_rows()
    assert len(rows) == 149
    for row in rows:
        densities = {block: float(row[f"density_{block}"]) for block in BLOCKS}
        budget = int(row["budget"])
        specification = specify(int(row["n_inputs"]), int(row["n_outputs"]), budget, densities=densities)
        assert specification.n_hidden == int(row["n_hidden"]), row
        assert abs(specification.total_weights / budget - 1) <= 0.008, row
        check_blocks(specification)
        for block in BLOCKS:
            size = math.prod(specification.shape(block))
            assert abs(specification.weights[block] - densities[block] * size) <= 0.5 + 1e-6


@pytest.mark.parametrize(
    ("n_inputs", "n_outputs", "budget", "n_hidden", "hh", "outer"),
    [(46, 26, 50_000, 236, 0.449, 1.0), (2500, 10, 100_000, 224, 0.996, 0.085)],
)
def test_design_examples(n_inputs, n_outputs, budget, n_hidden, hh, outer):
    specification = specify(n_inputs, n_outputs, budget, hidden_proportion=0.5)
    assert specification.n_hidden == n_hidden
    assert specification.densities["hh"] == pytest.approx(hh, abs=5e-4)
    total = sum(specification.weights[block] for block in OUTER_BLOCKS)
    assert total / sum(math.prod(specification.shape(block)) for block in OUTER_BLOCKS) == pytest.approx(
        outer, abs=5e-4
    )
    check(specification, 0.5)


def test_cart_pole_at_a_large_budget():
    assert specify(4, 2, 50_000).n_hidden == 3124


def test_hidden_proportion_defaults_to_one_half():
    assert specify(46, 26, 50_000) == specify(46, 26, 50_000, hidden_proportion=0.5)
    assert specify(46, 26, 50_000, hidden_size=300) == specify(46, 26, 50_000, hidden_proportion=0.5, hidden_size=300)
    assert specify(46, 26, 50_000, densities={}) == specify(46, 26, 50_000)


@settings(max_examples=1000)
@given(sizes, sizes, budgets, proportions)
def test_budget_and_hidden_proportion(n_inputs, n_outputs, budget, proportion):
    n_hh = round(proportion * budget)
    feasible = n_hh >= 1 and budget - n_hh >= n_outputs + 4
    message = refusal(n_inputs, n_outputs, budget, hidden_proportion=proportion)
    assert feasible == (message is None), message
    if not feasible:
        assert "budget" in message
        return
    specification = specify(n_inputs, n_outputs, budget, hidden_proportion=proportion)
    check(specification, proportion)
    bound = math.ceil((budget - n_hh - n_outputs * (n_inputs + n_outputs)) / (n_inputs + 2 * n_outputs))
    assert specification.n_hidden == max(math.isqrt(n_hh - 1) + 1, bound)
    # One outer density, but for rounding and for blocks that the floors hold up.
    outer = (budget - n_hh) / sum(math.prod(specification.shape(block)) for block in OUTER_BLOCKS)
    for block in OUTER_BLOCKS:
        size = math.prod(specification.shape(block))
        raised = sum(floors(n_outputs).values())
        assert abs(specification.weights[block] - outer * size) <= raised + 1


@settings(max_examples=400)
@given(small_sizes, small_sizes, small_budgets, proportions, some_densities)
def test_hidden_size_is_the_smallest_by_brute_force(n_inputs, n_outputs, budget, proportion, pins):
    expected = smallest_hidden_size(n_inputs, n_outputs, budget, proportion, pins)
    message = refusal(n_inputs, n_outputs, budget, hidden_proportion=proportion, densities=pins)
    assert (expected is None) == (message is not None), message
    if expected is None:
        assert any(name in message for name in ("budget", "hidden_proportion", "density "))
        return
    specification = specify(n_inputs, n_outputs, budget, hidden_proportion=proportion, densities=pins)
    assert specification.n_hidden == expected
    check(specification, proportion)
    size, floor = block_sizes(n_inputs, expected, n_outputs), floors(n_outputs)
    for block, density in pins.items():
        if block != "hh":
            assert specification.weights[block] == max(floor[block], round(density * size[block]))


@settings(max_examples=300)
@given(small_sizes, small_sizes, small_budgets, proportions, some_densities, st.integers(1, 400))
def test_given_hidden_size(n_inputs, n_outputs, budget, proportion, pins, n_hidden):
    assume("hh" not in pins and len(pins) < 5)
    options = {"hidden_proportion": proportion, "densities": pins}
    n_hh = round(proportion * budget)
    fits = n_hidden <= budget and holds(n_inputs, n_hidden, n_outputs, budget, n_hh, pins)
    message = refusal(n_inputs, n_outputs, budget, hidden_size=n_hidden, **options)
    assert fits == (message is None), message
    if fits:
        specification = specify(n_inputs, n_outputs, budget, hidden_size=n_hidden, **options)
        assert specification.n_hidden == n_hidden
        check(specification, proportion)
    elif message.startswith("hidden_size"):
        named = int(message.split()[-2].replace(",", ""))
        assert specify(n_inputs, n_outputs, budget, hidden_size=named, **options).n_hidden == named
        assert refusal(n_inputs, n_outputs, budget, hidden_size=named + (1 if named < n_hidden else -1), **options)


def answers(message):
    """Read the figures that an error message says would fit."""
    said = message.rpartition(": ")[2].removesuffix(", or the density of one block left free")
    assert said.endswith(" fits"), message
    for answer in said.removesuffix(" fits").split(" or "):
        kind, _, figure = answer.rpartition(" ")
        if kind == "hidden_proportion":
            yield {"hidden_proportion": float(figure)}
        elif kind == "densities":
            block, _, density = figure.partition("=")
            yield {"density": (block, float(density))}
        else:
            assert kind == "a budget of", message
            yield {"budget": int(figure.replace(",", ""))}


@settings(max_examples=500)
@given(small_sizes, small_sizes, small_budgets, proportions, some_densities)
def test_what_an_error_says_would_fit_does_fit(n_inputs, n_outputs, budget, proportion, pins):
    message = refusal(n_inputs, n_outputs, budget, hidden_proportion=proportion, densities=pins)
    assume(message is not None)
    if message.endswith("leave one free"):
        assert set(pins) == set(OUTER_BLOCKS)
        return
    if message.endswith("needed"):
        assert budget < int(message.split()[-4].replace(",", ""))
        assert message.startswith("budget")
        return
    if "no pinned densities" in message:
        assert pins
        pins = {}
        message = message.replace("no pinned densities and ", "")
    found = [{}] if message.endswith("no pinned densities fits") else list(answers(message))
    assert found
    for answer in found:
        changed = dict(pins)
        changed.update([answer["density"]] if "density" in answer else [])
        specify(
            n_inputs,
            n_outputs,
            answer.get("budget", budget),
            hidden_proportion=answer.get("hidden_proportion", proportion),
            densities=changed,
        )


def test_smallest_budget_is_named_exactly():
    message = refusal(46, 26, 20)
    assert message.startswith("budget 20 is too small")
    (answer,) = answers(message)
    assert specify(46, 26, answer["budget"]).budget == answer["budget"]
    assert refusal(46, 26, answer["budget"] - 1)


@settings(max_examples=300)
@given(sizes, sizes, budgets, st.lists(st.floats(0.001, 1), min_size=6, max_size=6))
def test_six_densities(n_inputs, n_outputs, budget, values):
    densities = dict(zip(BLOCKS, values, strict=True))
    message = refusal(n_inputs, n_outputs, budget, densities=densities)
    if message is not None:  # half of all: then the budget that it names, the smallest one
        budget = int(message.split()[-3].replace(",", ""))
        assert refusal(n_inputs, n_outputs, budget - 1, densities=densities)
        assume(refusal(n_inputs, n_outputs, budget, densities=densities) is None)  # a handful of weights can be too few
    specification = specify(n_inputs, n_outputs, budget, densities=densities)
    check_blocks(specification)

    def weights(n_hidden):
        size = block_sizes(n_inputs, n_hidden, n_outputs)
        return sum(densities[block] * size[block] for block in BLOCKS)

    tolerance = 1e-9 * budget
    assert weights(specification.n_hidden - 0.5) <= budget + tolerance
    assert weights(specification.n_hidden + 0.5) >= budget - tolerance


def test_six_densities_below_the_smallest_budget():
    dense = dict.fromkeys(BLOCKS, 1.0)
    message = refusal(46, 26, 100, densities=dense)
    needed = int(message.split()[-3].replace(",", ""))
    assert specify(46, 26, needed, densities=dense).n_hidden == 1
    assert "budget" in refusal(46, 26, needed - 1, densities=dense)
    assert "densities" in refusal(46, 26, 1000, densities=dict.fromkeys(BLOCKS, 5e-324))


@pytest.mark.parametrize("option", [{"hidden_proportion": 0.3}, {"hidden_size": 452}])
def test_six_densities_leave_nothing_else_to_say(option):
    message = refusal(46, 26, 50_000, densities=dict.fromkeys(BLOCKS, 0.2), **option)
    assert next(iter(option)) in message
    assert "contradicts" in message


def test_pinned_hh_sets_the_hidden_size():
    specification = specify(46, 26, 50_000, hidden_proportion=0.5, densities={"hh": 0.2})
    assert specification.n_hidden == round(math.sqrt(25_000 / 0.2))
    assert specification.densities["hh"] == pytest.approx(0.2, rel=2 / specification.n_hidden)
    assert "densities hh" in refusal(46, 26, 50_000, hidden_proportion=0.5, densities={"hh": 1.0})


def test_hidden_proportion_follows_from_hidden_size_and_hh():
    specification = specify(46, 26, 50_000, hidden_size=240, densities={"hh": 0.5})
    assert specification.weights["hh"] == 28_800
    check(specification, 0.576)
    message = refusal(46, 26, 50_000, hidden_size=240, hidden_proportion=0.3, densities={"hh": 0.5})
    assert "hidden_proportion 0.3 contradicts" in message
    assert "0.576" in message
    assert refusal(46, 26, 50_000, hidden_size=300, densities={"hh": 1.0}).endswith("at most 223 fits")


def test_hidden_proportion_follows_from_hidden_size_and_the_five_outer_blocks():
    specification = specify(46, 26, 50_000, hidden_size=300, densities=dict.fromkeys(OUTER_BLOCKS, 0.5))
    assert {specification.densities[block] for block in OUTER_BLOCKS} == {0.5}
    check(specification)


def test_five_pinned_outer_blocks_fit_at_their_budgets_only():
    dense = dict.fromkeys(OUTER_BLOCKS, 1.0)
    assert specify(46, 26, 50_000, densities=dense).n_hidden == 236
    message = refusal(46, 26, 50_100, densities=dense)
    (answer,) = answers(message)
    assert abs(answer["budget"] - 50_100) < 300
    check(specify(46, 26, answer["budget"], densities=dense), 0.5)


@settings(max_examples=400)
@given(sizes, budgets, proportions)
def test_critic(n_inputs, budget, proportion):
    dense = {"yx": 1.0, "yh": 1.0, "yy": 1.0}
    if refusal(n_inputs, 1, budget, hidden_proportion=proportion, densities=dense):
        with pytest.raises(ValueError, match=r"\A[^\n]*budget[^\n]*\Z"):
            specify_critic(n_inputs, budget, hidden_proportion=proportion)
        return
    specification = specify_critic(n_inputs, budget, hidden_proportion=proportion)
    check(specification, proportion)
    assert specification.n_outputs == 1
    assert [specification.densities[block] for block in ("yx", "yh", "yy")] == [1, 1, 1]
    n_hh = round(proportion * budget)
    assert holds(n_inputs, specification.n_hidden, 1, budget, n_hh, dense)
    assert not holds(n_inputs, specification.n_hidden - 1, 1, budget, n_hh, dense)


BAD_SIZES = [0, -1, 3.0, True, None, "4", math.nan, math.inf, 10**400, np.bool_(True), np.float64(4)]


@pytest.mark.parametrize(("place", "value"), itertools.product(range(3), BAD_SIZES))
def test_sizes_that_are_no_positive_integers(place, value):
    sizes = [4, 2, 1000]
    sizes[place] = value
    assert refusal(*sizes).startswith(("n_inputs", "n_outputs", "budget")[place])


@pytest.mark.parametrize("value", [value for value in BAD_SIZES if value is not None])
def test_hidden_sizes_that_are_no_positive_integers(value):
    assert refusal(4, 2, 1000, hidden_size=value).startswith("hidden_size")


@pytest.mark.parametrize("value", [0, 1, -0.1, 1.5, math.nan, math.inf, -math.inf, True, "0.5", 1j, 10**400])
def test_hidden_proportions_outside_their_range(value):
    assert refusal(4, 2, 1000, hidden_proportion=value).startswith("hidden_proportion")


@pytest.mark.parametrize("value", [0, -0.1, 1.5, math.nan, math.inf, True, "0.5", None, [0.5]])
def test_densities_outside_their_range(value):
    assert refusal(4, 2, 1000, densities={"hx": value}).startswith("densities hx=")


@pytest.mark.parametrize("densities", [{"xh": 0.5}, {3: 0.5}, {"hx": 0.5, "HH": 0.5}, [0.5] * 6, 0.5])
def test_unknown_blocks(densities):
    assert refusal(4, 2, 1000, densities=densities)


def test_numpy_numbers_become_plain_ones():
    specification = specify(np.int64(46), np.int32(26), np.int64(50_000), hidden_proportion=np.float64(0.5))
    assert specification == specify(46, 26, 50_000)
    assert type(specification.n_inputs) is int
    json.dumps(specification.to_dict())


def test_large_budgets_are_quick():
    started = time.process_time()
    for _ in range(20):
        specify(2500, 10, 10_000_000, hidden_proportion=0.3)
        specify(4, 2, 10_000_000, densities={"hx": 0.3, "yy": 1.0})
    assert time.process_time() - started < 2


def test_dictionary_round_trip():
    specification = specify(46, 26, 50_000)
    data = json.loads(json.dumps(specification.to_dict()))
    assert NetworkSpecification.from_dict(data) == specification
    assert data["weights"]["hh"] == 25_000
    assert data["shapes"]["yh"] == [26, 236]
    assert sum(data["shares"].values()) == pytest.approx(1)
    assert specification.n_biases == data["n_biases"] == 236 + 26


@pytest.mark.parametrize(
    "change",
    [
        {"n_hidden": 237},
        {"n_hidden": 236.0},
        {"n_hidden": True},
        {"budget": -1},
        {"total_weights": 3},
        {"hidden_proportion": math.nan},
        {"surplus": 1},
        {"weights": {"hh": 3}},
        {"weights": dict.fromkeys(BLOCKS, 0)},
        {"weights": dict.fromkeys(BLOCKS, 10)},
        {"weights": [1, 2, 3]},
        {"weights": dict.fromkeys(BLOCKS, 10**9)},
    ],
)
def test_dictionaries_that_are_no_specification(change):
    data = specify(46, 26, 50_000).to_dict() | change
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z"):
        NetworkSpecification.from_dict(data)


@pytest.mark.parametrize("name", list(specify(4, 2, 1000).to_dict()))
def test_dictionaries_that_lack_an_entry(name):
    data = specify(46, 26, 50_000).to_dict()
    del data[name]
    with pytest.raises(ValueError, match=name):
        NetworkSpecification.from_dict(data)


@pytest.mark.parametrize("data", [None, [], "text", 3])
def test_what_is_no_dictionary(data):
    with pytest.raises(ValueError, match="table"):
        NetworkSpecification.from_dict(data)


def test_unknown_block_has_no_shape():
    with pytest.raises(ValueError, match="xh"):
        specify(4, 2, 1000).shape("xh")
