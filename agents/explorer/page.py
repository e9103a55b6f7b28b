"""The page of the network explorer: one file that needs nothing else."""

import csv
import json
import math
from importlib.resources import files
from typing import Any

from agents.explorer.prediction import prediction_data
from agents.recommendation.networks import TaskFacts
from agents.recommendation.parent import Parent
from policies.network.blocks import OUTER_BLOCKS, PATTERNS
from policies.network.specification import BLOCKS, specify


def network_page(
    n_inputs: int,
    n_outputs: int,
    budget: int,
    hidden_proportion: float,
    env: str | None = None,
    asked: tuple[Parent, TaskFacts, int] | None = None,
    pattern: str = PATTERNS[0],
) -> str:
    """Return the page as HTML; its sliders begin at this budget and hidden proportion.

    It finds networks by the formulas of `policies.network.specification`, and asks the parent's process, both written
    once more in JavaScript.

    :param env: what the sizes are of, if anything
    :param asked: the parent whose predictions are shown, with the task and the steps of a training; none without a task
    :param pattern: how the weights that the page draws are placed, one of `PATTERNS`
    """
    data = {
        "env": env,
        "nInputs": n_inputs,
        "nOutputs": n_outputs,
        "budget": budget,
        "hiddenProportion": hidden_proportion,
        "pattern": pattern,
        "published": published_networks(),
        "parent": None if asked is None else prediction_data(*asked),
    }
    here = files(__package__)
    contents = {
        "data": json.dumps(data).replace("<", "\\u003c"),
        "specification": here.joinpath("specification.js").read_text(encoding="utf-8"),
        "prediction": here.joinpath("prediction.js").read_text(encoding="utf-8"),
        "explorer": here.joinpath("explorer.js").read_text(encoding="utf-8"),
    }
    page = here.joinpath("page.html").read_text(encoding="utf-8")
    for name, content in contents.items():
        page = page.replace("{{" + name + "}}", content)
    return page


def published_networks() -> list[dict[str, Any]]:
    """Return the networks of the method's published configurations (arXiv 2509.15057), as the page takes them."""
    networks = []
    file = files("policies.network").joinpath("published_configurations.csv")
    for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines()):
        sizes = (int(row["n_inputs"]), int(row["n_outputs"]), int(row["budget"]))
        network = specify(*sizes, densities={block: float(row[f"density_{block}"]) for block in BLOCKS})
        outer = sum(network.weights[block] for block in OUTER_BLOCKS)
        networks.append(
            {
                "task": row["task"],
                "nInputs": network.n_inputs,
                "nOutputs": network.n_outputs,
                "budget": network.budget,
                "nHidden": network.n_hidden,
                "p": network.hidden_proportion,
                "hh": network.densities["hh"],
                "outer": outer / sum(math.prod(network.shape(block)) for block in OUTER_BLOCKS),
            }
        )
    return networks
