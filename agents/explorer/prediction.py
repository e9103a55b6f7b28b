"""What the page of the network explorer needs to predict scores as the parent does, or to say why it cannot."""

from dataclasses import asdict
from typing import Any

from agents.recommendation.networks import TaskFacts
from agents.recommendation.parent import COVERAGE, Parent


def prediction_data(parent: Parent, facts: TaskFacts, steps: int) -> dict[str, Any]:
    """Return plain values of a parent and a task, for JSON.

    :param steps: of the training
    :return: `ignorance` says why the parent can predict for no budget; without one `noLead` says why the rule chooses
        all the same, null if the parent does, `process` holds what it asks, `budgets` the smallest and the largest
        budget that it can predict for
    """
    data = {
        "version": parent.version,
        "nTasks": parent.n_tasks,
        "rule": str(parent.rule),
        "steps": steps,
    }
    budgets = [budget for known in parent.alike(facts) for budget in known.budgets]
    ignorance = parent.ignorance(facts, steps, min(budgets, default=1))
    if ignorance is not None:
        return data | {"ignorance": ignorance}
    return data | {
        "ignorance": None,
        "noLead": parent.no_lead if parent.lead <= 0 else None,
        "budgets": [min(budgets), max(budgets)],
        "facts": asdict(facts),
        "coverage": COVERAGE,
        "halfWidth": parent.half_width,
        "process": {name: array.tolist() for name, array in parent.process.arrays().items()},
    }
