"""The network explorer: what it computes and shows in a browser, against the specification in Python."""

import html
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import in_chromium, needs_chromium

import specify as command
from agents.command_line import run as run_command
from agents.explorer.page import network_page, published_networks
from policies.network.specification import BLOCKS, specify, specify_varied
from policies.refusal import Refusal

PROBE = """
<pre id="probe"></pre>
<script>
{
  const found = {networks: REQUESTS.map((request) => specifyVaried(...request))};
  found.patterns = PATTERNS.map((pattern) => [...drawPattern(...pattern, generator(1), true)]);
  found.grouped = PATTERNS.map((pattern) => drawGroupedPattern(...pattern, generator(1)));
  found.start = element("result").textContent;
  found.circles = document.querySelectorAll("circle.published").length;
  found.dark = document.querySelectorAll('#sizes circle.published[r="4"]').length;
  found.shades = [...document.querySelectorAll("#blocks canvas")].map((canvas) => {
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return [canvas.width * canvas.height, pixels.filter((value, index) => index % 4 === 3 && value > 0).length];
  });
  const move = (name, value) => {
    element(name).value = value;
    element(name).dispatchEvent(new Event("input"));
    return [element("budget").value, element("p").value, element("result").textContent];
  };
  found.moved = [
    move("p-slider", 0.25), move("budget-slider", 1000), move("budget", 5), move("p", 2),
  ];
  found.wide = document.documentElement.scrollWidth - window.innerWidth;
  document.getElementById("probe").textContent = JSON.stringify(found);
}
</script>
"""


def requests() -> list[list[float]]:
    """Draw sizes, budgets and proportions of all magnitudes, many of which do not fit, and halves that round."""
    generator = np.random.default_rng(0)
    drawn: list[list[float]] = [[46, 26, 50_000, 0.5], [2500, 10, 100_000, 0.5], [4, 2, 50_000, 0.5], [1, 1, 5, 0.5]]
    for _ in range(600):
        inputs, outputs = (int(10 ** generator.uniform(0, top)) for top in (3.6, 1.8))
        budget = int(10 ** generator.uniform(0.5, 7))
        p = float(generator.choice([generator.uniform(0, 1), 0.5, (int(budget * generator.uniform()) + 0.5) / budget]))
        drawn.append([inputs, outputs, budget, min(max(p, 1e-6), 1 - 1e-6)])
    return drawn


def in_python(n_inputs: int, n_outputs: int, budget: int, p: float) -> dict[str, dict[str, int]] | None:
    try:
        actor, critic = specify_varied(n_inputs, n_outputs, budget, hidden_proportion=p)
    except Refusal:
        return None
    return {
        name: {"nHidden": network.n_hidden, **network.weights}
        for name, network in (("actor", actor), ("critic", critic))
    }


PATTERNS = [[5, 40, 6], [7, 9, 60], [3, 3, 9], [26, 236, 30]]


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("explorer")
    page = folder / "network.html"
    probe = PROBE.replace("REQUESTS", json.dumps(requests())).replace("PATTERNS", json.dumps(PATTERNS))
    text = network_page(46, 26, 50_000, 0.5, "Hammer</script><b>")
    page.write_text(text.replace("</body>", probe + "</body>"), encoding="utf-8")
    dom = in_chromium(["--window-size=520,900", "--dump-dom", page.as_uri()], folder)
    found = re.search(r'<pre id="probe">(\{.*?)</pre>', dom, re.DOTALL)
    assert found, dom[-3000:]
    return json.loads(html.unescape(found[1]))


@needs_chromium
def test_page_finds_the_networks_that_python_finds(probed: dict[str, Any]) -> None:
    fitting = 0
    for request, found in zip(requests(), probed["networks"], strict=True):
        expected = in_python(*request)  # type: ignore[arg-type]
        if "misfit" in found:
            assert expected is None, request
            continue
        fitting += 1
        assert expected == {
            name: {"nHidden": found[name]["nHidden"], **found[name]["weights"]} for name in ("actor", "critic")
        }, request
    assert 200 < fitting < 590


@needs_chromium
def test_patterns_have_exactly_their_weights(probed: dict[str, Any]) -> None:
    drawn = [*probed["patterns"], *probed["grouped"]]
    for (rows, columns, count), places in zip(2 * PATTERNS, drawn, strict=True):
        assert len(set(places)) == count
        assert set(places) <= set(range(rows * columns))
        assert {place // columns for place in places} == set(range(rows))


@needs_chromium
def test_page_shows_the_network_and_follows_the_sliders(probed: dict[str, Any]) -> None:
    assert probed["start"] == "236 hidden units (critic 520), density of hh 0.4489, of the other blocks 1.0000"
    assert probed["circles"] == 3 * 149
    same = [one for one in published_networks() if (one["nInputs"], one["nOutputs"]) == (46, 26)]
    assert probed["dark"] == len(same) > 0
    filled = dict(zip(BLOCKS, probed["shades"], strict=True))
    assert all(pixels == shaded for block, (pixels, shaded) in filled.items() if block != "hh")
    assert 0.4 < filled["hh"][1] / filled["hh"][0] < 1
    of_p, of_budget, too_small, no_p = probed["moved"]
    network = specify(46, 26, 50_000, hidden_proportion=0.25)
    assert of_p[:2] == ["50000", "0.25"]
    assert of_p[2].startswith(f"{network.n_hidden} hidden units")
    assert of_budget[:2] == ["1000000", "0.25"]
    assert of_budget[2].startswith(f"{specify(46, 26, 1_000_000, hidden_proportion=0.25).n_hidden:,} hidden units")
    assert too_small[2] == "No actor of 5 weights has p = 0.25."
    assert "a p between 0 and 1" in no_p[2]
    assert probed["wide"] <= 0


@needs_chromium
def test_rows_of_a_group_share_their_columns(probed: dict[str, Any]) -> None:
    for (rows, columns, _), places in zip(PATTERNS, probed["grouped"], strict=True):
        filled = np.zeros((rows, columns), bool)
        filled.flat[places] = True
        groups = [filled[first : first + 8] for first in range(0, rows, 8)]
        assert sum(int((group.any(0) & ~group.all(0)).sum()) for group in groups) <= 1


def test_page_needs_nothing_else() -> None:
    page = network_page(3, 2, 500, 0.5)
    assert not re.search(r"(src|href)\s*=|https?://|@import|url\(", page)
    assert "{{" not in page
    assert len(published_networks()) == 149


def call(monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    monkeypatch.setattr(sys, "argv", ["specify.py", "--inputs", "8", "--outputs", "3", "--budget", "900", *options])
    try:
        run_command(command.main)
    except SystemExit as error:
        return int(error.code or 0)
    return 0


def test_command_writes_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "network.html"
    assert call(monkeypatch, "--hidden-proportion", "0.3", "--html", str(file)) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.endswith(f"written: {file}\n")
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', file.read_text())[1])
    assert (data["nInputs"], data["nOutputs"], data["budget"], data["hiddenProportion"]) == (8, 3, 900, 0.3)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--architecture", "dense"), "--architecture"),
        (("--hidden-size", "200"), "--hidden-size"),
        (("--density", "hh=0.5"), "--density"),
        ((), "cannot be written"),
    ],
)
def test_what_does_not_fit_is_one_line(
    options: tuple[str, ...],
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(monkeypatch, *options, "--html", str(tmp_path / "nowhere" / "network.html")) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert named in err
