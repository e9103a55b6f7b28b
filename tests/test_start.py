"""A command answers at once: what takes seconds to import is imported when it is needed."""

import json
import subprocess
import sys

import pytest
from data_files import ROOT

from agents.evaluation import FRESH_SEED

LIGHT = {"agents", "policies", "yaml", "_yaml"} | {
    *("pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection")
}
"""What a command may import to know its options: they are described by a typed model, and read from YAML."""

IMPORTED = """
import json, runpy, sys
before = set(sys.modules)
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    code = end.code
names = {name.partition(".")[0] for name in set(sys.modules) - before}
generated = ("_sysconfigdata", "cython", "_cython")  # part of the interpreter, and of compiled modules
print(json.dumps([code, sorted(name for name in names - sys.stdlib_module_names if not name.startswith(generated))]))
"""


@pytest.mark.parametrize(
    "command",
    [
        *(f"{name}.py --help" for name in ("train", "evaluate", "export", "specify", "sweep")),
        "sweep.py run --help",
        "evaluate.py compare --help",
        "train.py --budget many",
        "train.py --hidden-budget 3",
        "evaluate.py",
    ],
)
def test_nothing_heavy_is_imported_for_an_answer_about_options(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *command.split()], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    *said, last = done.stdout.splitlines()
    code, imported = json.loads(last)
    assert set(imported) <= LIGHT
    if command.endswith("--help"):
        assert (code or 0, done.stderr) == (0, "")
        assert said
    else:
        assert code == 2
        assert done.stderr.count("\n") == 1
    if command == "evaluate.py --help":
        assert str(FRESH_SEED) in done.stdout


FIRST_UPDATE = """
import sys
from stable_baselines3.common.logger import configure as make_logger
from agents.configuration import configure
from agents.training import build_algorithm, plan_training, training_environments
settings = configure("CartPole-v1", n_envs=2, n_steps=8, batch_size=8, n_epochs=1)
algorithm = build_algorithm(settings, plan_training(settings), training_environments(settings))
algorithm.set_logger(make_logger(None, []))
algorithm.learn(16)
print(*sys.modules)
"""
NOT_NEEDED = {"torch._dynamo", "sympy", "matplotlib", "mujoco", "gymnasium_robotics", "optuna", "sklearn", "minari"}


def test_a_training_imports_no_compiler_of_torch_and_nothing_of_what_it_does_not_do() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FIRST_UPDATE], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert NOT_NEEDED.isdisjoint(done.stdout.split())
