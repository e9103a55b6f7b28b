"""Draws the pictures of the method's page from the package itself: python docs/draw_pictures.py [FOLDER]."""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from policies.network.patterns import draw_patterns  # noqa: E402
from policies.network.specification import BLOCKS, NetworkSpecification, specify  # noqa: E402

TASKS = {"Hammer": (46, 26, 20_000), "Random Anomaly": (2_500, 10, 100_000)}
"""Name -> inputs, outputs, budget."""
PROPORTIONS = (0.05, 0.5, 0.9)


def block_map() -> Figure:
    """Draw the six blocks of one network as one map from (h, y, x) to (h, y), every weight a dot."""
    n_inputs, n_outputs, budget = TASKS["Hammer"]
    networks = [specify(n_inputs, n_outputs, budget, hidden_proportion=p) for p in PROPORTIONS]
    largest = max(network.n_hidden for network in networks)
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    for axes, network, p in zip(figure.subplots(1, 3), networks, PROPORTIONS, strict=True):
        axes.imshow(_drawn(network), cmap="Blues", vmin=0, vmax=1.3, interpolation="nearest")
        n_h, width = network.n_hidden, network.n_hidden + n_outputs + n_inputs
        for position in (n_h, n_h + n_outputs):
            axes.plot([position - 0.5] * 2, [-0.5, n_h + n_outputs - 0.5], color="#d1495b", linewidth=1)
        axes.plot([-0.5, width - 0.5], [n_h - 0.5] * 2, color="#d1495b", linewidth=1)
        axes.set_xticks([n_h / 2, n_h + n_outputs / 2, n_h + n_outputs + n_inputs / 2], ["h", "y", "x"])
        axes.set_yticks([n_h / 2, n_h + n_outputs / 2], ["h'", "y'"])
        axes.tick_params(length=0)
        axes.set_xlim(-1, largest + n_outputs + n_inputs)
        axes.set_ylim(largest + n_outputs, -1)
        for side in ("top", "right", "bottom", "left"):
            axes.spines[side].set_visible(False)
        axes.set_title(f"p = {p}: {n_h} hidden units\n{width * (n_h + n_outputs):,} positions", fontsize=10)
    return figure


def _drawn(network: NetworkSpecification) -> np.ndarray:
    """Return 1 where a weight is and 0 where none is: rows h', y', columns h, y, x."""
    patterns = draw_patterns(network, seed=0)
    blocks = {}
    for block in BLOCKS:
        rows, columns = network.shape(block)
        dots = np.zeros(rows * columns)
        dots[patterns[block]] = 1
        blocks[block] = dots.reshape(rows, columns)
    return np.block([[blocks[target + source] for source in "hyx"] for target in "hy"])


def proportions() -> Figure:
    """Draw what the hidden proportion does to the number of hidden units and to the densities."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    grid = np.linspace(0.02, 0.98, 97)
    hidden, *others = figure.subplots(1, 3)
    colours = {"Hammer": "#20639b", "Random Anomaly": "#3caea3"}
    for (name, (n_inputs, n_outputs, budget)), axes in zip(TASKS.items(), others, strict=True):
        networks = [specify(n_inputs, n_outputs, budget, hidden_proportion=float(p)) for p in grid]
        label = f"{name}, {budget:,} weights\n{n_inputs:,} inputs, {n_outputs} outputs"
        hidden.plot(grid, [network.n_hidden for network in networks], color=colours[name], label=name)
        axes.plot(grid, [network.densities["hh"] for network in networks], color="#d1495b", label="hh")
        axes.plot(grid, [network.densities["hx"] for network in networks], color="#555555", label="the five others")
        axes.set(title=label, xlabel="hidden proportion p", ylabel="density", ylim=(0, 1.05), xlim=(0, 1))
        axes.title.set_fontsize(10)
        axes.legend(frameon=False, fontsize=8)
    hidden.set(xlabel="hidden proportion p", ylabel="hidden units", ylim=(0, None), xlim=(0, 1))
    hidden.legend(frameon=False, fontsize=8)
    for axes in (hidden, *others):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


PICTURES = {"blocks": block_map, "proportions": proportions}


def main(folder: Path) -> None:
    """Draw them all."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        draw().savefig(folder / f"{name}.png", dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "pictures")
