"""What the benchmarks share: their command line, alternating contenders, timing, medians and ratios, tables, sections.

A benchmark is a function that measures and returns a `Finding`; `run_benchmark` does the rest.
"""

import argparse
import json
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import torch
from matplotlib.figure import Figure

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
README = FOLDER / "README.md"

MEGABYTE = 1_000_000

Row = TypeVar("Row")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Finding:
    """What a benchmark measured."""

    raw: Mapping[str, Any]
    """the figures of all rounds, for results/"""
    paragraphs: Sequence[str]
    """tables and what they mean; the machine is described at the end of the last"""
    pictures: Mapping[Path, Figure] = field(default_factory=dict)
    """file -> a figure that a paragraph shows"""
    packages: tuple[str, ...] = ()
    """whose versions matter beside those that matter to all"""


def run_benchmark(
    module: str,
    title: str,
    description: str | None,
    measure: Callable[..., Finding],
    *,
    rounds: int = 5,
    more_rounds: Mapping[str, str] | None = None,
) -> None:
    """Be the command line of benchmarks/<module>.py: measure, print, write results/<module>.json and the section.

    :param measure: called with `rounds`, and with those of `more_rounds`, by name
    :param rounds: how many by default
    :param more_rounds: name -> help of a further number of rounds, by default as many as `rounds`
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds)
    for name, meaning in (more_rounds or {}).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, help=meaning)
    parser.add_argument("--no-write", action="store_true", help="only print")
    given = vars(parser.parse_args())
    write = not given.pop("no_write")
    numbers = {name: number or given["rounds"] for name, number in given.items()}

    finding = measure(**numbers)
    facts = machine(*finding.packages)
    options = (f"--{name.replace('_', '-')} {number}" for name, number in numbers.items())
    command = " ".join(["python -m", f"benchmarks.{module}", *options])
    if write:
        write_result(module, {"machine": facts, **numbers, **finding.raw})
        for file, picture in finding.pictures.items():
            file.parent.mkdir(exist_ok=True)
            picture.savefig(file)
    *paragraphs, last = finding.paragraphs
    publish(module.replace("_", " "), title, f"`{command}`", *paragraphs, f"{last} {describe(facts)}", write=write)


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


def seconds(work: Callable[[], object], *, repeats: int = 1, threads: int | None = None) -> float:
    """Return the seconds that a piece of work takes, the mean over repeats, with so many torch threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    started = time.perf_counter()
    for _ in range(repeats):
        work()
    elapsed = time.perf_counter() - started
    torch.set_num_threads(before)
    return elapsed / repeats


def machine(*more_packages: str) -> dict[str, Any]:
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
        **{name: version(name) for name in (*packages, *more_packages)},
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


def tabulate(rows: Iterable[Row], *columns: tuple[str, Callable[[Row], object]]) -> str:
    """Lay out a Markdown table of columns, each a title and what it says of a row."""
    titles, cells = zip(*columns, strict=True)
    return markdown_table(titles, [[cell(row) for cell in cells] for row in rows])


def publish(name: str, title: str, *paragraphs: str, write: bool = True) -> None:
    """Print a section, and write it into the README."""
    text = "\n\n".join([f"### {title}", *paragraphs])
    print(text)
    if write:
        write_section(name, text)


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


def in_new_process(call: Callable[..., Result], *arguments: Any) -> Result:
    """Return what a function finds in a process that has done nothing else."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(call, *arguments).result()


def resident(figure: str, *, reset_peak: bool = False) -> int | None:
    """Return this process's VmRSS (now) or VmHWM (peak) in bytes, None where there is no /proc to tell it.

    VmHWM and not getrusage's ru_maxrss, which a process inherits from its parent.
    """
    process = Path("/proc/self")
    if not (process / "clear_refs").is_file():
        return None
    if reset_peak:
        (process / "clear_refs").write_text("5")
    found = re.search(rf"{figure}:\s*(\d+) kB", (process / "status").read_text())
    return 1024 * int(found.group(1)) if found else None


def megabytes(figure: int | None) -> str:
    """Return what the table says of bytes."""
    return "not measured" if figure is None else f"{figure / MEGABYTE:,.1f}"
