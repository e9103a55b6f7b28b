"""Tables and pictures of finished studies, in the README of the benchmarks: python -m benchmarks.study_tables NAME.

They come from what `sweep.py report benchmarks/studies/NAME.yaml --out benchmarks/studies/NAME` wrote. A study has one
environment, so that a table of several tasks comes from as many studies.
"""

import argparse
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from agents.reporting.charts import Chart, Series
from agents.reporting.estimates import Estimate, interval_of_mean, number
from agents.reporting.pictures import draw_panel
from agents.studies.charts import learning_curves, score_by_proportion
from agents.studies.definition import read_study
from agents.studies.results import Result, by_configuration, read_results
from agents.trained.intervals import Interval
from benchmarks.harness import FOLDER, RESULTS, markdown_table, write_section
from benchmarks.sequence_baselines import name_of
from policies.network.architectures import ARCHITECTURES
from policies.network.blocks import PATTERNS

Runs = Sequence[Result]
ALL = 450
"""demonstrations of the whole data set of the hammer task, a tenth held out"""
COLOURS = ("#9ecae1", "#6baed6", "#2171b5", "#08306b", "#edae49", "#d1495b", "#6b7280")
SEED_COLOURS = (
    "#2171b5",
    "#edae49",
    "#d1495b",
    "#3caea3",
    "#8e5ea2",
    "#6b7280",
    "#08306b",
    "#a0522d",
    "#6baed6",
    "#9ecae1",
)
"""neighbours differ: a study may have few seeds"""
COURSES = (
    # -233 is the mean return of doing nothing with the hammer, 138 that of the best of 60 random constant actions.
    ("mean_return", "mean return", {"zero action": -233.0, "best constant action": 138.0}),
    ("success_rate", "success rate", {"nine of ten": 0.9}),
)
"""of a training from nothing: figure, its label, what to compare it with"""


def network(runs: Runs) -> str:
    """Return what tables and pictures call a network."""
    p = runs[0].hyperparameters["hidden_proportion"]
    return ARCHITECTURES[runs[0].architecture].title if p is None else f"varied, p = {p:g}"


def pattern(runs: Runs) -> str:
    """Return how the weights lie; studies from before there was a choice do not say it."""
    return runs[0].hyperparameters.get("pattern") or PATTERNS[0]


def demonstrations(runs: Runs) -> int:
    """Return how many demonstrations were fitted."""
    given = runs[0].hyperparameters
    return 0 if given["demos"] is None else given["demo_episodes"] or ALL


def learning(runs: Runs) -> str:
    """Return how a network learned."""
    given = runs[0].hyperparameters
    after = "imitation" if given["demos_only"] else "imitation, then PPO"
    return after if demonstrations(runs) else f"PPO, {given['total_timesteps']:,} steps"


def data_set(runs: Runs) -> str:
    """Return what tables call the source of the data."""
    return name_of(str(runs[0].hyperparameters["env_arguments"].get("source", "digits")))


def baseline(runs: Runs, method: str) -> str:
    """Return the test accuracy of a method of scikit-learn on the same sequences."""
    accuracies = json.loads((RESULTS / "sequence_baselines.json").read_text())["accuracies"]
    return f"{accuracies[data_set(runs)][method]:.3f}"


def task(runs: Runs) -> str:
    """Return what tables call the environment."""
    return str(runs[0].hyperparameters["env"]).removeprefix("popgym-").removeprefix("AdroitHand").partition("-")[0]


def place(runs: Runs) -> tuple[object, ...]:
    """Return what sorts configurations: by task, few demonstrations first, none last, small first, varied by p."""
    given = runs[0].hyperparameters
    trained = (demonstrations(runs) or math.inf, runs[0].budget, not given["demos_only"], given["total_timesteps"])
    kind = runs[0].architecture != "varied", given["hidden_proportion"] or 0.0, PATTERNS.index(pattern(runs))
    return task(runs), *trained, data_set(runs), *kind


def success_after(run: Result, steps: int) -> float:
    """Return the success rate of the first evaluation after so many steps."""
    return next(float(point["success_rate"]) for point in run.evaluations if point["steps"] >= steps)


def steps_to(run: Result, rate: float) -> float:
    """Return after how many steps an evaluation first succeeds so often; infinity if none does."""
    return next((float(point["steps"]) for point in run.evaluations if point["success_rate"] >= rate), math.inf)


def best(run: Result, share: float = 1.0) -> float:
    """Return the highest mean return of the evaluations within a share of the training, POPGym's score."""
    until = share * run.evaluations[-1]["steps"]
    return max(float(point["mean_return"]) for point in run.evaluations if point["steps"] <= until)


def mean_best(runs: Runs, share: float = 1.0) -> str:
    """Return the mean over runs of the best evaluation, with its 95 % interval."""
    return str(Estimate.of(np.mean, np.array([best(run, share) for run in runs])))


def minutes_to(run: Result, rate: float) -> float:
    """Return how long it took until then, as a share of the whole training's time."""
    return (run.seconds or math.nan) * steps_to(run, rate) / run.hyperparameters["total_timesteps"] / 60


def reached(runs: Runs, rate: float) -> str:
    """Return after how many steps the median run first succeeds so often, and how many of the runs do."""
    steps = [steps_to(run, rate) for run in runs]
    middle = float(np.median(steps))
    return f"{f'{middle:,.0f}' if math.isfinite(middle) else 'never'} ({sum(map(math.isfinite, steps))} of {len(runs)})"


def mean(runs: Runs, figure: str) -> float:
    """Return the mean of a figure of the final evaluation over runs."""
    return float(np.mean([run.final[figure] for run in runs]))


def interval(runs: Runs) -> Interval:
    """Return the 95 % interval of the mean score: over runs, by the bootstrap; of a single run over its episodes."""
    found = interval_of_mean(np.array([run.score for run in runs]), runs[0].final)
    assert found is not None
    return found


def setting(runs: Runs) -> str:
    """Return what a table of settings calls one: its group; `seeds`, of the study that is compared with, the preset."""
    return "the preset" if runs[0].group == "seeds" else runs[0].group.replace("_", " ")


COLUMNS: Mapping[str, Callable[[Runs], str]] = {
    "setting": setting,
    "budget": lambda runs: f"{runs[0].budget:,}",
    "network": network,
    "pattern": pattern,
    "task": task,
    "data set": data_set,
    "1-NN": lambda runs: baseline(runs, "1-NN"),
    "SVM": lambda runs: baseline(runs, "SVM"),
    "hidden proportion": lambda runs: f"{runs[0].hidden_proportion:.3f}",
    "hidden units": lambda runs: f"{runs[0].network['n_hidden']:,}",
    "demonstrations": lambda runs: str(demonstrations(runs) or "none"),
    "learning": learning,
    "runs": lambda runs: str(len(runs)),
    "mean return": lambda runs: f"{mean(runs, 'mean_return'):,.0f}",
    "test accuracy": lambda runs: f"{mean(runs, 'success_rate'):.3f}",
    "95 % interval": lambda runs: " to ".join(map(number, interval(runs))),
    "success": lambda runs: f"{mean(runs, 'success_rate'):.1%}",
    "least success": lambda runs: f"{min(run.final['success_rate'] for run in runs):.0%}",
    "median success at 0.3 M": lambda runs: f"{np.median([success_after(run, 300_000) for run in runs]):.0%}",
    "50 % after": lambda runs: reached(runs, 0.5),
    "80 % after": lambda runs: reached(runs, 0.8),
    "90 % after": lambda runs: reached(runs, 0.9),
    "minutes to 90 %": lambda runs: f"{np.median([minutes_to(run, 0.9) for run in runs]):.1f}",
    "lifted": lambda runs: f"{mean(runs, 'mean_lifted'):.0%}",
    "steps": lambda runs: f"{runs[0].hyperparameters['total_timesteps']:,}",
    "best in the first half": lambda runs: mean_best(runs, 0.5),
    "best": mean_best,
    "at the end": lambda runs: str(Estimate(mean(runs, "mean_return"), interval(runs))),
    "seconds": lambda runs: f"{np.median([run.seconds or math.nan for run in runs]):.0f}",
}
"""What a table says of the runs of a configuration."""
Tables = Mapping[str, tuple[tuple[str, ...], Callable[[Runs], bool]]]
ANOMALY: Tables = {
    "": (("network", "hidden proportion", "hidden units", "runs", "test accuracy", "95 % interval"), bool)
}
SEQUENCES: Tables = {
    "": (("data set", "network", "hidden units", "runs", "test accuracy", "95 % interval", "1-NN", "SVM"), bool)
}
POPGYM: Tables = {
    "": (("task", "steps", "network", "hidden units", "runs", "best in the first half", "best", "at the end"), bool)
}
FIGURES = ("runs", "mean return", "95 % interval", "success", "lifted", "seconds")
BLOCKS_ANOMALY: Tables = {"": (("network", "pattern", "hidden units", "runs", "test accuracy", "95 % interval"), bool)}
BLOCKS_HAMMER: Tables = {
    "": (("budget", "network", "pattern", "hidden units", "runs", "mean return", "95 % interval", "success"), bool)
}
HAMMER: Tables = {
    "How few demonstrations are enough? 50,000 weights, p = 0.5:": (
        ("demonstrations", "learning", *FIGURES),
        lambda runs: runs[0].budget == 50_000 and network(runs) == "varied, p = 0.5",
    ),
    "Architectures at equal budget:": (
        ("budget", "network", "hidden units", "learning", *FIGURES),
        lambda runs: demonstrations(runs) == ALL,
    ),
}
COURSE = ("network", "runs", "median success at 0.3 M", "90 % after", "minutes to 90 %")
OUTCOME = ("success", "95 % interval", "least success", "mean return", "lifted", "seconds")
NOTHING: Tables = {"": ((*COURSE, *OUTCOME), bool)}
ADROIT: Tables = {
    "": (
        ("task", "steps", "runs", "50 % after", "80 % after", "success", "95 % interval", "least success", "seconds"),
        bool,
    )
}
SETTINGS: Tables = {
    "": (("setting", *COURSE[1:4], *OUTCOME[:-1]), lambda runs: runs[0].architecture == "varied"),
}
"""title -> columns, which configurations"""


def hammer_charts(configurations: Sequence[Runs]) -> list[Chart]:
    """Show return against budget for imitation alone."""
    imitated = [runs for runs in configurations if (demonstrations(runs), learning(runs)) == (ALL, "imitation")]
    by_budget = []
    for name, colour in zip(dict.fromkeys(map(network, imitated)), COLOURS, strict=True):
        own = [runs for runs in imitated if network(runs) == name]
        low, high = zip(*map(interval, own), strict=True)
        means = tuple(mean(runs, "mean_return") for runs in own)
        by_budget.append(Series(name, colour, tuple(runs[0].budget for runs in own), means, low, high, line=True))
    return [Chart("", "", "weights per network", "mean return", (("imitation alone", tuple(by_budget)),), log_x=True)]


def nothing_charts(configurations: Sequence[Runs]) -> list[Chart]:
    """Show the courses of the default network's trainings from nothing."""
    (default,) = (runs for runs in configurations if runs[0].architecture == "varied")
    return [seed_courses(default, *course) for course in COURSES]


def settings_charts(configurations: Sequence[Runs]) -> list[Chart]:
    """Show the mean success rate of each setting in the course of the training."""
    lines = []
    varied = [runs for runs in configurations if runs[0].architecture == "varied"]
    for runs, colour in zip(varied, itertools.cycle(SEED_COLOURS), strict=False):
        courses = np.array([[point["success_rate"] for point in run.evaluations] for run in runs])
        steps = tuple(float(point["steps"]) for point in runs[0].evaluations)
        lines.append(Series(setting(runs), colour, steps, tuple(courses.mean(axis=0)), line=True))
    panel = ("Hammer from nothing, mean over seeds", tuple(lines))
    return [Chart("", "", "environment steps", "success rate", (panel,))]


def adroit_charts(configurations: Sequence[Runs]) -> list[Chart]:
    """Show the courses of the success rates, task by task."""
    return [seed_courses(runs, *COURSES[1]) for runs in configurations]


def seed_courses(runs: Runs, figure: str, label: str, levels: Mapping[str, float]) -> Chart:
    """Show a figure of the evaluations of each run of a configuration, beside levels to compare it with."""
    ends = (0.0, float(runs[0].hyperparameters["total_timesteps"]))
    lines = [Series(f"{name}: {value:g}", "black", ends, (value, value), line=True) for name, value in levels.items()]
    for run, colour in zip(sorted(runs, key=lambda run: run.seed), itertools.cycle(SEED_COLOURS), strict=False):
        x, y = zip(*((point["steps"], point[figure]) for point in run.evaluations), strict=True)
        lines.append(Series(f"seed {run.seed}", colour, x, y, line=True))
    panel = (f"{task(runs)} from nothing, {network(runs)}", tuple(lines))
    return Chart("", "", "environment steps", label, (panel,))


def anomaly_charts(configurations: Sequence[Runs]) -> list[Chart]:
    """Show accuracy against the hidden proportion, and in the course of the training."""
    complete = [replace(run, group="all") for runs in configurations for run in runs]  # groups differ in seeds alone
    return [score_by_proportion(complete, "accuracy"), learning_curves(complete, "accuracy")]


REPORTS: Mapping[str, tuple[Tables, str | None, Callable[[Sequence[Runs]], list[Chart]]]] = {
    "hammer": (HAMMER, "hammer.png", hammer_charts),
    "hammer_from_nothing": (NOTHING, "hammer_from_nothing.png", nothing_charts),
    "hammer_settings": (SETTINGS, "hammer_settings.png", settings_charts),
    "adroit_from_nothing": (ADROIT, "adroit_from_nothing.png", adroit_charts),
    "popgym": (POPGYM, None, anomaly_charts),
    "random_anomaly_mnist": (ANOMALY, "random_anomaly.png", anomaly_charts),
    "random_anomaly_digits": (ANOMALY, None, anomaly_charts),
    "sequence_choice": (SEQUENCES, None, anomaly_charts),
    "pattern_blocks_random_anomaly": (BLOCKS_ANOMALY, None, anomaly_charts),
    "pattern_blocks_hammer_imitation": (BLOCKS_HAMMER, None, anomaly_charts),
}
"""report -> tables, picture, what it shows"""
TOGETHER: Mapping[str, tuple[str, ...]] = {
    "popgym": (
        "popgym_repeat_first",
        "popgym_repeat_previous",
        "popgym_cartpole",
        "popgym_bandit",
        "popgym_higher_lower",
    ),
    "hammer_settings": ("hammer_from_nothing", "hammer_settings"),
    "adroit_from_nothing": ("door_from_nothing", "pen_from_nothing", "relocate_from_nothing"),
}
"""report -> its studies, where it does not have the name of its only one"""


def report(name: str) -> str:
    """Make the tables and the picture of a report, and return the Markdown that shows them."""
    folder = FOLDER / "studies"
    studies = TOGETHER.get(name, (name,))
    found = [
        [run for run in read_results(folder / study) if run.status == "complete"]
        for study in studies
        if (folder / study).is_dir()  # another has not been begun
    ]
    configurations = sorted((runs for complete in found for runs in by_configuration(complete).values()), key=place)
    tables, picture, charts = REPORTS[name]
    parts = []
    for title, (columns, belongs) in tables.items():
        rows = [[COLUMNS[column](runs) for column in columns] for runs in configurations if belongs(runs)]
        parts += [title, markdown_table(columns, rows)]
    planned = sum(
        len(group.seeds) * group.trials * math.prod(map(len, group.each.values()))
        for study in studies
        for group in read_study(folder / f"{study}.yaml").groups
    )
    parts.append(f"{sum(map(len, found))} of {planned} runs are there.")
    if picture is not None:
        draw(charts(configurations), FOLDER / "figures" / picture)
        parts.append(f"![{name.replace('_', ' ')}](figures/{picture})")
    return "\n\n".join(parts).strip()


def draw(charts: Sequence[Chart], file: Path) -> None:
    """Draw charts of one panel each side by side."""
    figure = Figure(figsize=(4.6 * len(charts), 4.6), dpi=110, layout="constrained")
    for axes, chart in zip(figure.subplots(1, len(charts), squeeze=False)[0], charts, strict=True):
        ((title, series),) = chart.panels
        handles = draw_panel(axes, chart, title, series)
        axes.set_ylabel(chart.y_label)
        axes.legend(handles.values(), handles, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3)
    figure.savefig(file)


def main() -> None:
    """Renew a study's part of the README."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=REPORTS, help="a study, or several together")
    name = parser.parse_args().name
    text = report(name)
    print(text)
    write_section(name, text)


if __name__ == "__main__":
    main()
