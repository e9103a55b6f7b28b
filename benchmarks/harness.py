"""What the benchmarks share: alternating contenders, medians and ratios, the machine's description, tables."""

import json
import platform
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
README = FOLDER / "README.md"


def alternate(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Measure every contender once per round, in turn, so that what else the machine does hits them alike.

    :param contenders: name -> a function that does a fixed piece of work and returns its figure
    :param rounds: how often
    :return: name -> the figures, one per round
    """
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds):
        for name, measure in contenders.items():
            figures[name].append(measure())
            print(f"  round {turn + 1}/{rounds}  {name}: {figures[name][-1]:.6g}", flush=True)
    return figures


def median_ratio(figures: Sequence[float], reference: Sequence[float]) -> float:
    """Return the median over rounds of figure / reference."""
    return statistics.median(a / b for a, b in zip(figures, reference, strict=True))


def machine() -> dict[str, Any]:
    """Describe the machine and the versions that a figure depends on."""
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        found = re.search(r"model name\s*:\s*(.+)", information.read_text())
        processor = found.group(1) if found else processor
    packages = ("torch", "numba", "numpy", "stable-baselines3", "sb3-contrib", "mujoco", "gymnasium-robotics")
    return {
        "date": date.today().isoformat(),
        "processor": processor,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def write_result(name: str, content: Mapping[str, Any]) -> None:
    """Write benchmarks/results/<name>.json."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


def read_lines(file: Path) -> list[dict[str, Any]]:
    """Read the finished runs of a resumable benchmark: one JSON object a line; none if there is no file."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def append_line(file: Path, line: Mapping[str, Any]) -> None:
    """Add a finished run to those of a resumable benchmark."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lines:
        lines.write(json.dumps(line) + "\n")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay out a Markdown table; columns after the first are aligned right."""
    lines = ["| " + " | ".join(header) + " |", "| --- |" + " ---: |" * (len(header) - 1)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def write_section(name: str, text: str) -> None:
    """Replace the part of benchmarks/README.md between the markers of a benchmark."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    page = README.read_text()
    if begin not in page:
        page = f"{page.rstrip()}\n\n{begin}\n{end}\n"
    before, rest = page.split(begin)
    after = rest.split(end)[1]
    README.write_text(f"{before}{begin}\n{text.strip()}\n{end}{after}")


def describe(facts: Mapping[str, Any]) -> str:
    """Put `machine()` into one line under a table."""
    versions = ", ".join(
        f"{name} {value}" for name, value in facts.items() if name not in ("date", "processor", "threads")
    )
    return f"{facts['date']}, {facts['processor']}, {facts['threads']} threads; {versions}."
