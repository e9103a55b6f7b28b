"""README and docs: every command and block of code runs, shortened; links and pictures are there; the site builds."""

import inspect
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from data_files import DIGITS, HAMMER_DEMONSTRATIONS, ROOT
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy

from agents.configuration import TrainingConfiguration, option_name
from envs import modules
from envs.lookup import registered_ids
from envs.rendering import prepare_off_screen_rendering
from envs.task import TASKS
from tests.same_runs import call, record_demonstrations

README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")

NOT_RUN = {
    "make ": "installs, and is what CI itself runs",
    "pip install": "installs",
    "python -m pip install": "downloads",
    "source .venv": "of the shell",
    "eval ": "of the shell; what it brings is tested in test_help.py",
    "tensorboard ": "a server, which does not end",
    "python -m http.server ": "a server, which does not end",
    "optuna-dashboard ": "a server, which does not end",
    "sbatch ": "a cluster",
    "python sweep.py worker first.yaml --storage postgresql": "a database, see test_study_workers.py",
    "python sweep.py run first.yaml --workers 8 --storage postgresql": "a database",
    "python sweep.py report first.yaml --storage postgresql": "a database",
    "python evaluate.py logs/CartPole-v1/first --watch": "a window, see test_policy_evaluation.py",
    "python train.py --env SequenceChoice-v0 --env-arg source=archive/": "data that were downloaded",
    "python export.py logs/CartPole-v1/first --push-to-hub": "the Hub, see test_hub.py",
    "python evaluate.py hf://": "the Hub",
}
"""How lines begin that are not run, and why."""

SHORT = {
    "train.py": (
        "--total-timesteps 96 --n-envs 2 --n-steps 16 --batch-size 16 --n-epochs 1 --eval-every 1000 --eval-episodes 2 "
        "--final-episodes 2 --no-progress"
    ),
    "train.py --env Adroit": "--env-arg max_episode_steps=20",
    "train.py --resume": "--total-timesteps 128 --no-progress",
    "evaluate.py": "--episodes 2",
}
"""What is added to a command."""

SHORTER = {
    "demonstrations.md": {
        "D4RL/hammer/expert-v2": str(HAMMER_DEMONSTRATIONS),
        "D4RL/door/human-v2": "door",
        "path/to/my/dataset --demo-episodes 25 --demo-epochs 100": f"{HAMMER_DEMONSTRATIONS} --demo-episodes 1",
        "--demos ": "--demo-epochs 1 --demos ",
    },
    "hammer.md": {"hammer.mp4": "hammer.mp4 --env-arg max_episode_steps=3"},
    "random-anomaly.md": {"source=mnist": f"source={DIGITS}"},
    "rebalancing.md": {
        "100_000, callback": "256, callback",
        "policy_kwargs=sizes)": "policy_kwargs=sizes, n_steps=64)",
    },
    "training.md": {'"Pendulum-v1")': '"Pendulum-v1", n_steps=64)', "100_000, callback": "256, callback"},
    "stock-recurrent-ppo.md": {
        "model.learn(100_000": "model.learn(256",
        "hidden_proportion=0.5))": "hidden_proportion=0.5), n_steps=64)",
        "n_steps=256": "n_steps=64",
    },
    "python.md": {"100_000)": "256, n_steps=64, eval_episodes=2)", "episodes=100": "episodes=2"},
    "parent.md": {
        "total_timesteps: 100000": "total_timesteps: 32, n_envs: 2, n_steps: 16, n_epochs: 1, eval_episodes: 2",
        "trials: 20": "trials: 2",
    },
    "studies.md": {
        "total_timesteps: 100000": "total_timesteps: 32, n_envs: 2, n_steps: 16, n_epochs: 1, eval_episodes: 2",
        "seeds: [0, 1, 2]": "seeds: [0]",
        "workers: 2": "workers: 1",
        "trials: 10": "trials: 1",
        "budget: [500, 1500], architecture: [dense, uniform, lstm, gru]": "budget: [500], architecture: [dense]",
        "--trial 4": "--trial 1",
    },
}
"""Page -> text -> what stands in its place."""


def write_recordings(folder: Path) -> None:
    """Write labelled sequences as the page on them describes."""
    generator = np.random.default_rng(0)
    for label in ("normal", "odd"):
        (folder / label).mkdir(parents=True)
        for index in range(10):
            rows = generator.normal(label == "odd", 1, (6, 2)).round(3)
            lines = ["time,one,two", *(f"{time},{one},{two}" for time, (one, two) in enumerate(rows))]
            (folder / label / f"{index}.csv").write_text("\n".join(lines))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in; what is registered meanwhile is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(modules, "_NAMED", {*modules._NAMED})
    known = {*registered_ids()}, {*TASKS}
    yield tmp_path
    for registry, before in zip((gymnasium.registry, TASKS), known, strict=True):
        for name in {*registry} - before:
            registry.pop(name, None)
    for name, module in [*sys.modules.items()]:
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def _can_render() -> bool:
    try:
        prepare_off_screen_rendering()
    except ValueError:
        return False
    return True


def run(line: str, patch: pytest.MonkeyPatch) -> None:
    """Run a line of a shell, unless it is among those that are not."""
    words = shlex.split(line, comments=True)
    if not words or any(line.startswith(start) for start in NOT_RUN):
        return
    python, script, *options = words
    assert python == "python", f"{line}: a command that nobody runs; add it to NOT_RUN with a reason"
    if script == "examples/run_policy.py":
        patch.setattr(sys, "argv", words[1:])
        runpy.run_path(str(ROOT / script), run_name="__main__")
        return
    if "--video" in options and "Adroit" in line and not _can_render():
        return
    if "--rebalance" in options:
        options += ["--rebalance-every", "1"]  # of the few updates there are, or the training is refused
    if not {"compare", "--help", "--list-envs"} & {*options}:
        starts = [start for start in SHORT if line.startswith(f"python {start}")]
        options += shlex.split(
            SHORT[starts[-1]] if "--resume" in options else " ".join(SHORT[start] for start in starts)
        )
    assert call(script, *options, patch=patch) == 0, line


RUN = [page for page in PAGES if page.name != "adding.md"]  # which changes the project


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=[page.name for page in RUN])
def test_what_a_page_shows_runs(page: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page.read_text()
    for long, short in SHORTER.get(page.name, {}).items():
        assert long in text, f"{page.name} does not hold {long!r} any more"
        text = text.replace(long, short)
    if "source=recordings" in text:
        write_recordings(place / "recordings")
    if "--demos door" in text:
        record_demonstrations(place / "door", monkeypatch, "gymnasium_robotics:AdroitHandDoor-v1")
    names: dict[str, object] = {}
    for language, block in BLOCK.findall(text):
        file = re.match(r"# ([\w.]+)\n", block)
        if file is not None:
            Path(file[1]).write_text(block)
        elif language == "python":
            exec(compile(block, page.name, "exec"), names)
        elif language == "":
            for line in block.splitlines():
                run(line, monkeypatch)
        else:
            assert language == "text", f"{page.name} has a block of {language} that nobody runs"


DRIVER = """
import runpy, sys
for line in {lines}:
    sys.argv = line
    try:
        runpy.run_path(line[0], run_name="__main__")
    except SystemExit as end:
        assert not end.code, (line, end.code)
"""


@pytest.mark.slow
def test_a_network_and_a_task_are_added_to_a_copy_of_the_project(place: Path) -> None:
    for package in ("agents", "policies", "envs"):
        shutil.copytree(ROOT / package, place / package)
    for script in ROOT.glob("*.py"):
        shutil.copy(script, place)

    def insert(file: str, before: str, text: str) -> None:
        whole = (place / file).read_text()
        assert whole.count(before) == 1
        (place / file).write_text(whole.replace(before, text + before))

    (place / "envs" / "recall").mkdir()
    (place / "envs" / "recall" / "__init__.py").write_text('"""Recalling a cue."""\n')
    environment = BLOCK.search((ROOT / "docs" / "own-environment.md").read_text())[2]
    (place / "envs" / "recall" / "environment.py").write_text(environment.partition("gymnasium.register(")[0])
    insert("envs/__init__.py", "from envs.task import", "from envs.recall.record import RECALL\n")
    insert("envs/__init__.py", "SEQUENCE_CHOICE):", "RECALL, ")
    lines = []
    for language, block in BLOCK.findall((ROOT / "docs" / "adding.md").read_text()):
        if language == "":
            lines += [shlex.split(line)[1:] for line in block.splitlines()]
            continue
        file, _, rest = block.removeprefix("# ").partition("\n")
        if file == "policies/network/architectures.py":
            insert(file, ")\nARCHITECTURES: ", textwrap.indent(f"{rest.rstrip()},\n", "    "))
        else:
            (place / file).write_text(rest)
    lines = [[*line, *shlex.split(SHORT.get(line[0], ""))] if "--list-envs" not in line else line for line in lines]
    assert len(lines) == 6
    done = subprocess.run(
        [sys.executable, "-c", DRIVER.format(lines=lines)], cwd=place, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for shown in ("architecture elman", "Recall-v0", "recalled"):
        assert shown in done.stdout
    assert (place / "elman.onnx").exists()


def test_the_readme_shows_what_pages_show() -> None:
    shown: dict[str, set[str]] = {}
    for page in PAGES:
        for language, block in BLOCK.findall(page.read_text()):
            shown.setdefault(language, set()).update([block] if language == "python" else block.splitlines())
    for language, block in BLOCK.findall(README.read_text()):
        for part in [block] if language == "python" else block.splitlines():
            assert part in shown[language] or part.startswith(tuple(NOT_RUN)), part


def test_every_argument_of_theirs_is_in_the_table_and_every_default_is_as_it_says() -> None:
    text = (ROOT / "docs" / "from-sb3-contrib.md").read_text()
    theirs = inspect.signature(RecurrentPPO).parameters
    kwargs = inspect.signature(RecurrentActorCriticPolicy).parameters
    passed_by_the_algorithm = {"env", "_init_setup_model", "observation_space", "action_space", "lr_schedule"}
    for name in {*theirs, *kwargs} - passed_by_the_algorithm:
        assert re.search(rf"\b{name}\b", text), name
    ours = TrainingConfiguration(env="")
    (row,) = (line for line in text.splitlines() if "the same defaults" in line)
    same = re.findall(r"`(\w+)`", row.split("|")[1])
    assert {*same} <= {*theirs}
    assert [getattr(ours, name) for name in same] == [theirs[name].default for name in same]
    for name in ("n_steps", "batch_size"):
        assert f"| {getattr(ours, name)}, theirs {theirs[name].default}" in text
    options = {option_name(name) for name in TrainingConfiguration.model_fields} | {"--resume", "--config"}
    assert {
        *re.findall(r"`(--[\w-]+)", "".join(line.split("|")[2] for line in text.splitlines() if "|" in line))
    } <= options


def slugs(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text()), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", [README, *PAGES, ROOT / "benchmarks/README.md", ROOT / "tests/README.md"], ids=str)
def test_every_link_and_picture_is_there(page: Path) -> None:
    for target in LINK.findall(BLOCK.sub("", page.read_text())):
        path, _, anchor = target.partition("#")
        if ":" in path:
            continue
        there = page.parent / path if path else page
        assert there.exists(), target
        assert not anchor or anchor in slugs(there), target


def test_every_page_is_reached() -> None:
    named = re.findall(r"([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert {page.name for page in PAGES} == {*named} - {"README.md"}  # which is that of the benchmarks
    assert len(README.read_text().splitlines()) <= 150


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    for page in {*tmp_path.rglob("*.html")} - {tmp_path / "404.html"}:
        text = page.read_text()
        loaded = re.findall(r"<(?:script|img|link rel=\"(?:stylesheet|icon)\")[^>]*(?:src|href)=\"([^\"]+)\"", text)
        for target in loaded:
            assert (page.parent / target.partition("?")[0]).exists(), (page.name, target)
    text = (tmp_path / "commands.html").read_text()
    assert all(f'id="{name}"' in text for name in ("trainpy", "sweeppy-show"))
    assert "--hidden-proportion X" in text
    assert "AdroitHandHammerSparse-v1" in (tmp_path / "presets.html").read_text()
    assert "minibatches of whole sequences" in (tmp_path / "python.html").read_text()


def test_the_pictures_are_those_that_the_script_draws(tmp_path: Path) -> None:
    pictures = ROOT / "docs" / "pictures"
    subprocess.run([sys.executable, ROOT / "docs/draw_pictures.py", tmp_path], check=True, timeout=120)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in pictures.iterdir()}
    assert sum(path.stat().st_size for path in pictures.iterdir()) < 300_000
    for path in tmp_path.iterdir():
        size = slice(16, 24)  # width and height, in a PNG's header
        assert path.read_bytes()[size] == (pictures / path.name).read_bytes()[size]
