"""The parent's prediction on the page of the network explorer, in a browser, against the parent in Python."""

import dataclasses
import html
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import in_chromium, needs_chromium
from synthetic_tables import synthetic_records

import specify as command
from agents.command_line import run as run_command
from agents.explorer.page import network_page
from agents.recommendation.networks import Network, TaskFacts
from agents.recommendation.parent import Parent, learn
from policies.network.architectures import specify_architecture
from policies.refusal import Refusal

FACTS = TaskFacts(n_inputs=4, n_outputs=2, chooses=True, episode_length=500.0, imitates=False)
STEPS = 300_000
PROBE = """
<pre id="probe"></pre>
<script>
{
  const asked = REQUESTS.map(([budget, p]) => {
    const {actor} = specifyVaried(DATA.nInputs, DATA.nOutputs, budget, p);
    return actor ? predictedScore(DATA.parent, budget, actor) : null;
  });
  const shown = () => [element("result").textContent, element("prediction").textContent, element("parent").textContent,
    element("scores").style.display, element("scores").querySelectorAll("path").length];
  const start = shown();
  element("budget").value = 2e6;
  element("budget").dispatchEvent(new Event("input"));
  const outside = shown();
  element("probe").textContent = JSON.stringify({asked, start, outside});
}
</script>
"""


@pytest.fixture(scope="module")
def parent() -> Parent:
    """Return one that knows enough of tasks like `FACTS`."""
    known = learn(synthetic_records(10))
    return dataclasses.replace(known, lead=0.1)  # and chooses well


def requests(parent: Parent) -> list[tuple[int, float]]:
    """Return budgets that the parent knows, at all positions of the slider of p and between."""
    budgets = [budget for known in parent.alike(FACTS) for budget in known.budgets]
    generator = np.random.default_rng(0)
    drawn = [(int(generator.uniform(min(budgets), 5_000)), float(p)) for p in generator.uniform(0, 1, 200)]
    return [(min(budgets), 0.5), (1_500, 0.5)] + [(1_500, round(0.005 * place, 3)) for place in range(1, 200)] + drawn


def probed(page: str, asked: list[tuple[int, float]], folder: Path) -> dict[str, Any]:
    file = folder / "network.html"
    file.write_text(page.replace("</body>", PROBE.replace("REQUESTS", json.dumps(asked)) + "</body>"), encoding="utf-8")
    dom = in_chromium(["--dump-dom", file.as_uri()], folder)
    found = re.search(r'<pre id="probe">(\{.*?)</pre>', dom, re.DOTALL)
    assert found, dom[-3000:]
    return json.loads(html.unescape(found[1]))


def in_python(parent: Parent, budget: int, p: float) -> float | None:
    try:
        found = specify_architecture("varied", FACTS.n_inputs, FACTS.n_outputs, budget, hidden_proportion=p)
    except Refusal:
        return None
    return float(parent.predict(FACTS, STEPS, [Network.of(found)])[0])


@needs_chromium
def test_page_predicts_what_the_parent_predicts(parent: Parent, tmp_path: Path) -> None:
    asked = requests(parent)
    found = probed(network_page(4, 2, 1_500, 0.5, "CartPole-v1", (parent, FACTS, STEPS)), asked, tmp_path)
    expected = [in_python(parent, *one) for one in asked]
    assert [score is None for score in found["asked"]] == [score is None for score in expected]
    pairs = [pair for pair in zip(found["asked"], expected, strict=True) if pair[1] is not None]
    np.testing.assert_allclose(*zip(*pairs, strict=True), rtol=0, atol=1e-9)
    assert len({round(score, 6) for score, _ in pairs}) > 30

    _, prediction, about, display, paths = found["start"]
    score = in_python(parent, 1_500, 0.5)
    low, high = parent.interval(score)
    assert prediction == f"Predicted score {score:.2f}, 90% interval {low:.2f} to {high:.2f}"
    assert about.startswith(f"The parent {parent.version}, which has learned from 10 tasks, predicts for")
    assert (display, paths) == ("", 2)

    result, prediction, _, display, _ = found["outside"]
    doubt = parent.doubt(FACTS, STEPS, 2_000_000)
    assert "weights lie outside of the table's range" in doubt
    assert "hidden units" in result
    assert prediction == f"No score is predicted: {doubt}."
    assert display == "none"


@needs_chromium
def test_page_says_that_the_parent_knows_too_little(parent: Parent, tmp_path: Path) -> None:
    longer = TaskFacts(4, 2, True, 50_000.0, False)
    doubt = parent.doubt(longer, STEPS, 1_500)
    assert "steps of an episode lie outside" in doubt
    page = network_page(4, 2, 1_500, 0.5, "CartPole-v1", (parent, longer, STEPS))
    found = probed(page, [], tmp_path)["start"]
    assert "hidden units" in found[0]
    assert found[1] == f"No score is predicted: {doubt}."
    assert f"knows too little to predict: {doubt}. What auto stands for is then decided by a rule" in found[2]
    assert found[3:] == ["none", 0]


def data_of(page: str) -> dict[str, Any]:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1])["parent"]


def test_command_asks_the_parent_about_the_task(
    parent: Parent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    parent.save(tmp_path)
    file = tmp_path / "network.html"

    def written(*options: str) -> dict[str, Any] | None:
        monkeypatch.setattr(sys, "argv", ["specify.py", *options, "--html", str(file)])
        run_command(command.main)
        assert capsys.readouterr().err == ""
        return data_of(file.read_text(encoding="utf-8"))

    found = written("--env", "CartPole-v1", "--parent", str(tmp_path))
    assert (found["version"], found["nTasks"], found["ignorance"], found["noLead"]) == (parent.version, 10, None, None)
    assert (TaskFacts(**found["facts"]), found["steps"], found["halfWidth"]) == (FACTS, STEPS, parent.half_width)
    own = Parent.load()
    assert written("--env", "CartPole-v1")["ignorance"] == own.ignorance(FACTS, STEPS, 1_500)
    dataclasses.replace(parent, lead=0.0).save(tmp_path)
    led = written("--env", "CartPole-v1", "--parent", str(tmp_path))
    assert (led["ignorance"], led["noLead"]) == (None, parent.no_lead)
    assert written("--inputs", "4", "--outputs", "2", "--budget", "1500") is None
