"""Comparisons of finished runs: which configurations there are, what they came to, and what a user sees of it."""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from browser import in_chromium, needs_chromium
from data_files import DATA, ROOT

import evaluate
from agents.command_line import run as run_command
from agents.comparison.findings import curve_over_steps, curve_over_time
from agents.comparison.groups import differing_settings, group_runs
from agents.comparison.report import Comparison, compare
from agents.comparison.runs import find_runs
from agents.configuration import configure
from agents.runs.folder import RunFolder
from agents.studies.ledger import recorded
from agents.studies.results import Result, write_results
from agents.training import plan_training, train
from benchmarks.study_tables import FOLDER
from envs import modules
from policies.refusal import Refusal

HAMMER = FOLDER / "studies" / "hammer"


def finish(
    folder: Path, env: str, seed: int, score: float, curve: Sequence[tuple[int, float]] = (), **options: object
) -> Path:
    """Write the folder of a run as a training that came to this score leaves it."""
    configuration = configure(env, seed=seed, log_dir=str(folder), **{"budget": 600, "total_timesteps": 4096} | options)
    run = RunFolder.create(configuration, "run")
    run.write_json("network.json", plan_training(configuration).to_dict())
    figures = {"episodes": 20, "std_return": 2.0, "success_rate": None, "mean_length": 9.0}
    rows = [{"steps": steps, **figures, "mean_return": value} for steps, value in curve]
    run.write_json("result.json", {"seconds": 60.0, "final": {**figures, "mean_return": score}, "curve": rows})
    lines = [f"{iteration},{seconds}\n" for iteration, seconds in ((1024, 10), (2048, 30), (4096, 90))]
    (run.path / "progress.csv").write_text("time/total_timesteps,time/time_elapsed\n" + "".join(lines))
    return run.path


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write runs of three architectures in two environments; dense lacks one."""
    folder = tmp_path_factory.mktemp("logs")
    for seed, (varied, lstm) in enumerate([(100.0, 60.0), (120.0, 80.0), (140.0, 110.0)]):
        for architecture, final in (("varied", varied), ("lstm", lstm)):
            for env, score in (("CartPole-v1", final), ("Pendulum-v1", 10 * final - 2000)):
                curve = [(1000 * step, score * step / 4) for step in (1, 2, 3, 4)]
                finish(folder, env, seed, score, curve, architecture=architecture)
    finish(folder, "CartPole-v1", 0, 150.0, architecture="dense")
    return folder


def test_hammer_gives_the_committed_figures() -> None:
    comparison = compare([HAMMER])
    by_settings = {}
    for one in comparison.found:
        ((env, (run, *others)),) = one.group.runs.items()
        given = run.settings
        p = given["hidden_proportion"]
        network = {"dense": "dense", "lstm": "LSTM", "uniform": "uniform sparsity"}.get(
            given["architecture"], f"varied, p = {p}"
        )
        learning = "imitation" if given["demos_only"] else "imitation, then PPO"
        key = (str(given["demo_episodes"] or 450), f"{given['budget']:,}", network, learning)
        row = (str(1 + len(others)), f"{run.n_hidden:,}", *re.split(r" \(", str(one.mean[env]).rstrip(")")))
        by_settings[key] = row
    section = (ROOT / "benchmarks" / "README.md").read_text().split("<!-- begin hammer -->")[1].split("<!-- end")[0]
    tables = [[re.split(r" \| ", line.strip("| ")) for line in part.splitlines() if line.startswith("| ")]
              for part in section.split("Architectures at equal budget")]  # fmt: skip
    checked = set()
    for few in tables[0][2:]:
        demonstrations, learning, runs, mean, interval, *_ = few
        key = (demonstrations, "50,000", "varied, p = 0.5", learning)
        assert by_settings[key] == (runs, "236", mean, interval)
        checked.add(key)
    for row in tables[1][2:]:
        budget, network, hidden, learning, runs, mean, interval, *_ = row
        key = ("450", budget, network, learning)
        assert by_settings[key] == (runs, hidden, mean, interval)
        checked.add(key)
    assert checked == set(by_settings)
    assert len(checked) == 28


def test_runs_that_differ_in_seeds_are_one_configuration(logs: Path) -> None:
    runs, left_out = find_runs([logs])
    assert not left_out
    assert differing_settings(runs) == {
        "architecture": ["varied", "lstm", "dense"],
        "hidden_proportion": [0.5, None],
    }
    groups = {group.name: {env: len(own) for env, own in group.runs.items()} for group in group_runs(runs)}
    assert groups == {
        "dense": {"CartPole-v1": 1},
        "LSTM": {"CartPole-v1": 3, "Pendulum-v1": 3},
        "varied sparsity, p = 0.5": {"CartPole-v1": 3, "Pendulum-v1": 3},
    }
    one = [run for run in runs if run.settings["architecture"] == "varied"]
    assert differing_settings(one) == {}  # the presets of the two environments do
    assert one[0].settings != one[-1].settings
    assert [group.name for group in group_runs(one)] == ["all runs"]


def test_each_run_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finish(tmp_path / "study", "CartPole-v1", 0, 5.0)
    other = finish(tmp_path / "study", "Pendulum-v1", 0, 5.0).rename(tmp_path / "study" / "Pendulum-v1" / "another")
    network = plan_training(RunFolder.open(run).read_configuration()).actor
    cell = Result(
        trial=0,
        cell="run",
        configuration="proportions-0000",
        group="proportions",
        seed=0,
        status="complete",
        attempt=1,
        hyperparameters=recorded(RunFolder.open(run).read_configuration()),
        network={
            "n_hidden": network.n_hidden,
            "hidden_proportion": network.hidden_proportion,
            "total_weights": network.total_weights,
            "densities": dict(network.densities),
            "weights": dict(network.weights),
        },
        final_score=5.0,
        best_score=5.0,
        seconds=60.0,
        curve=(),
        final={"episodes": 20, "mean_return": 5.0, "std_return": 2.0},
    )
    report = tmp_path / "study" / "report"  # where `sweep.py report` puts it
    report.mkdir()
    write_results([cell], report)
    monkeypatch.chdir(tmp_path)
    for paths in ([tmp_path], [report, other], [Path("study"), report.parent, other]):
        found, _ = find_runs(paths)
        assert [(run.env, run.final["mean_return"]) for run in found] == [("CartPole-v1", 5.0), ("Pendulum-v1", 5.0)]
    assert len(find_runs([other, Path("study/Pendulum-v1/another")])[0]) == 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (",env,", ",world,", "its results.csv has no column 'env'"),
        ("complete", "complete" * 20_000, "its tables are none that sweep.py report wrote: field larger"),
    ],
)
def test_a_damaged_report_is_one_line(old: str, new: str, said: str, tmp_path: Path) -> None:
    report = tmp_path / "report"
    report.mkdir()
    for file in HAMMER.glob("*.csv"):
        (report / file.name).write_bytes(file.read_bytes())
    table = report / "results.csv"
    table.write_text(table.read_text().replace(old, new, 1))
    for folder in (report, tmp_path):
        with pytest.raises(Refusal, match=said) as refused:
            find_runs([folder])
        assert "\n" not in str(refused.value)


def test_runs_with_other_callbacks_are_another_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules, "_NAMED", set(modules._NAMED))
    modules.import_named("stable_baselines3.common.callbacks", "this test")
    finish(tmp_path / "a", "CartPole-v1", 0, 5.0)
    text = "stable_baselines3.common.callbacks:StopTrainingOnMaxEpisodes:max_episodes=1"
    finish(tmp_path / "b", "CartPole-v1", 1, 6.0, callbacks=[text])
    runs, _ = find_runs([tmp_path])
    assert differing_settings(runs) == {"callbacks": [[], [text]]}
    assert len(group_runs(runs)) == 2


def test_scores_of_several_environments_are_normalized(logs: Path) -> None:
    ranges = {"CartPole-v1": (0.0, 200.0), "Pendulum-v1": (-2000.0, 0.0)}
    comparison = compare([logs], ranges=ranges)
    assert [one.name for one in comparison.found] == ["varied sparsity, p = 0.5", "LSTM", "dense"]
    varied, lstm, dense = comparison.found
    # 0.5, 0.6 and 0.7 in both; of six, one is left out at each end.
    assert varied.overall is not None
    assert varied.overall.value == pytest.approx((0.5 + 0.6 + 0.6 + 0.7) / 4)
    assert dense.overall is None
    # Of 9 pairs in each environment, 110 beats 100 alone.
    better = comparison.improvements["LSTM"]
    assert better is not None
    assert better.value == pytest.approx(1 / 9)
    alone = comparison.improvements["dense"]
    assert alone is not None
    assert (alone.value, alone.interval) == (1.0, None)
    # Without ranges: from the lowest, 60, to the highest, 150 (dense) in one environment and 140 in the other.
    free = compare([logs])
    assert free.ranges == {"CartPole-v1": (60.0, 150.0), "Pendulum-v1": (-1400.0, -600.0)}


def test_environments_are_told_apart_by_their_arguments(tmp_path: Path) -> None:
    for seed, steps in enumerate((50, 90)):
        finish(
            tmp_path,
            "CartPole-v1",
            seed,
            float(steps),
            env_arguments={"max_episode_steps": steps, "sutton_barto_reward": True},
        )
    names = [f"CartPole-v1 max_episode_steps={steps}" for steps in (50, 90)]
    with pytest.raises(ValueError, match="range 'CartPole-v1 max_episode_steps=50=LOW:HIGH' is needed"):
        compare([tmp_path])
    (one,) = compare([tmp_path], ranges=dict.fromkeys(names, (0.0, 100.0))).found
    assert {env: scores.tolist() for env, scores in one.scores.items()} == {
        names[0]: [50.0],
        names[1]: [90.0],
    }
    assert one.overall is not None
    assert one.overall.value == pytest.approx(0.7)


def test_curves_are_aligned(tmp_path: Path) -> None:
    finish(tmp_path, "CartPole-v1", 0, 5.0, [(1024, 0.0), (2048, 10.0), (4096, 30.0)])
    finish(tmp_path, "CartPole-v1", 1, 5.0, [(2048, 20.0), (3072, 40.0), (4096, 40.0)])
    runs, _ = find_runs([tmp_path])
    steps = curve_over_steps(runs, "mean_return")
    assert steps is not None
    assert steps.x.tolist() == [2048, 3072, 4096]  # where both have values
    assert [estimate.value for estimate in steps.estimates] == [15.0, 30.0, 35.0]
    assert steps.estimates[0].interval == (10.0, 20.0)
    time = curve_over_time(runs, "mean_return")
    assert time is not None
    assert time.x.tolist() == [30, 60, 90]  # 3,072 steps are halfway between 30 and 90 seconds
    assert [estimate.value for estimate in time.estimates] == [15.0, 30.0, 35.0]
    (Path(runs[0].source) / "progress.csv").unlink()
    assert curve_over_time(find_runs([tmp_path])[0], "mean_return") is None


def test_what_a_training_leaves_can_be_compared(tmp_path: Path) -> None:
    options = {"budget": 200, "n_steps": 32, "total_timesteps": 512, "eval_every": 256, "progress": False}
    result = train(configure("CartPole-v1", eval_episodes=3, log_dir=str(tmp_path), **options))
    (one,) = compare([tmp_path]).found
    assert one.scores["CartPole-v1"].tolist() == [result.final.mean_return]
    (run,) = one.group.all_runs
    assert [figures["steps"] for figures in run.evaluations] == [256, 512]
    assert run.clock is not None
    assert run.clock[-1, 0] == 512


def test_older_runs_and_unfinished_ones() -> None:
    runs, left_out = find_runs([DATA / "old_runs" / "runs"])
    assert len(runs) == 4
    (line,) = left_out
    assert "interrupted is left out: its training has not come to its end" in line


def test_repeated_run_is_said(tmp_path: Path) -> None:
    for score in (1.0, 2.0):
        finish(tmp_path, "CartPole-v1", 3, score)
    (line,) = compare([tmp_path, tmp_path]).remarks
    assert re.search(r"run-2 has the settings and the seed of .*run$", line)


def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "compare", *words])
    code = 0
    try:
        run_command(evaluate.main)
    except SystemExit as error:
        code = int(error.code or 0)
    return code, *capsys.readouterr()


@pytest.fixture(scope="module")
def written(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "new" / "folder"
    compare([logs]).write(out)
    return out


def test_table_and_json(
    logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (str(logs / "CartPole-v1"), "--out", str(tmp_path))
    code, out, err = call(monkeypatch, capsys, *words)
    assert (code, err) == (0, "")
    rows = [re.split(r" {2,}", line) for line in out.splitlines()]
    header = ["configuration", "runs", "hidden units", "mean return", "IQM", "P(> best)", "minutes"]
    assert header in rows
    table = rows[rows.index(header) + 1 :]
    assert table[0][:4] == ["dense", "1", "21", "150 (149 to 151)"]
    assert table[1][0] == "varied sparsity, p = 0.5"
    assert table[1][3:] == ["120 (100 to 140)", "120 (100 to 140)", "0", "1.0"]
    assert "differs: architecture: varied sparsity; LSTM; dense" in out
    assert sorted(file.name for file in tmp_path.iterdir()) == ["comparison.html", "comparison.png"]
    code, out, err = call(monkeypatch, capsys, *words, "--json")
    assert (code, err) == (0, "")
    entries = json.loads(out)
    assert entries["configurations"][1]["environments"]["CartPole-v1"]["scores"] == [100, 120, 140]


def test_page_needs_nothing_else(written: Path) -> None:
    assert (written / "comparison.png").read_bytes().startswith(b"\x89PNG")
    page = (written / "comparison.html").read_text()
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)\s*=\s*[\"']?(https?:)?//", page)
    for text in ("varied sparsity, p = 0.5", "Probability of improvement", "The same in all runs in Pendulum-v1"):
        assert text in page


@needs_chromium
def test_page_in_a_narrow_window(written: Path, tmp_path: Path) -> None:
    probe = (
        '<pre id="probe"></pre><script>window.addEventListener("load", () => setInterval(() => {'
        'const lines = [...document.querySelectorAll(".scatterlayer .trace")].length;'
        'const wide = document.documentElement.scrollWidth - window.innerWidth;'
        'document.getElementById("probe").textContent = `${lines} traces, ${wide} too wide`; }, 50));</script>'
    )  # fmt: skip
    page = tmp_path / "probed.html"
    page.write_text((written / "comparison.html").read_text().replace("</body>", probe + "</body>"))
    dom = in_chromium(["--window-size=520,1000", "--virtual-time-budget=9000", "--dump-dom", page.as_uri()], tmp_path)
    found = re.search(r'<pre id="probe">(\d+) traces, (-?\d+) too wide', dom)
    assert found
    # Final scores of 2 + 3 + 2 configurations, and bands and lines of two in both environments over steps and time.
    assert int(found[1]) == 7 + 16
    assert int(found[2]) <= 0


BAD_CALLS = {
    "nothing": ([], "RUN"),
    "nothing there": (["TMP/nothing"], "nothing is no run folder and holds none"),
    "unfinished": (["UNFINISHED"], "has not come to its end"),
    "unknown score": (["LOGS", "--score", "profit"], "--score profit does not fit"),
    "score that is none": (
        ["LOGS", "--score", "success_rate"],
        "its final evaluation has std_return, mean_length, mean_return",
    ),
    "malformed range": (["LOGS", "--range", "CartPole-v1=5"], "--range"),
    "empty range": (["LOGS", "--range", "CartPole-v1=5:5"], "ENV=LOW:HIGH"),
    "range of no environment": (["LOGS", "--range", "Acrobot-v1=0:1"], "the runs are of CartPole-v1, Pendulum-v1"),
    "report without curves": (["OLD"], "evaluations.csv"),
    "out is a file": (["LOGS", "--out", "LOGS/CartPole-v1/run/config.yaml"], "--out"),
    "abbreviated option": (["LOGS", "--scor", "mean_return"], "--scor"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_input_is_one_line(
    name: str, logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words, named = BAD_CALLS[name]
    places = {
        "LOGS": logs,
        "TMP": tmp_path,
        "UNFINISHED": DATA / "old_runs" / "runs" / "RandomAnomaly-v0",
        "OLD": FOLDER / "studies" / "hammer_imitation",
    }
    for word, place in places.items():
        words = [given.replace(word, str(place)) for given in words]
    monkeypatch.chdir(tmp_path)
    code, out, err = call(monkeypatch, capsys, *words)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1, err
    assert named in err
    assert not (tmp_path / "comparison").exists()


def test_equal_scores_make_no_scale(tmp_path: Path) -> None:
    for env in ("CartPole-v1", "Pendulum-v1"):
        for seed in (0, 1):
            finish(tmp_path, env, seed, 7.0)
    with pytest.raises(ValueError, match="range CartPole-v1=LOW:HIGH is needed"):
        compare([tmp_path])
    comparison: Comparison = compare([tmp_path / "CartPole-v1"])
    assert comparison.found[0].iqm["CartPole-v1"].interval == (7.0, 7.0)
    assert np.isfinite(comparison.found[0].mean["CartPole-v1"].value)
