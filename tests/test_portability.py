"""What only POSIX systems have is not needed."""

import subprocess
import sys
from pathlib import Path

from data_files import ROOT

ELSEWHERE = """
import os, pkgutil, signal, sys, warnings
for name in ("fcntl", "resource", "termios", "pwd", "grp"):
    sys.modules[name] = None
for module, names in (
    (os, ("sched_getaffinity", "sched_setaffinity", "setsid", "killpg")),
    (signal, ("pthread_sigmask", "SIGKILL")),
):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
# Without fcntl, filelock takes the existence of the file for the lock, and says so.
warnings.filterwarnings("ignore", message="only soft file lock")

import agents, envs, policies

for package in (agents, envs, policies):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        __import__(module.name)
for command in ("train", "evaluate", "export", "specify", "sweep"):
    __import__(command)

from agents.configuration import configure
from agents.resumption.options import configuration_to_resume
from agents.runs.lock import run_lock
from agents.studies.running import core_shares
from agents.training import train
from policies.refusal import Refusal

assert core_shares(2) == [(), ()]
task = dict(budget=300, n_envs=2, n_steps=16, batch_size=32, n_epochs=1, eval_every=32, eval_episodes=1)
result = train(configure("CartPole-v1", **task, total_timesteps=32, log_dir=sys.argv[1], vectorization="threads"))
folder, configuration = configuration_to_resume(result.path, {"total_timesteps": 64})
with run_lock(result.path):
    try:
        train(configuration, resume=folder)
    except Refusal as refusal:
        assert f"is being trained by process {os.getpid()}" in str(refusal), refusal
    else:
        raise AssertionError("a run in use was trained")
train(configuration, resume=folder)
"""


def test_every_module_is_imported_and_a_training_runs_without_what_posix_alone_has(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
