"""Signals as a user sends them: to a process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from data_files import ROOT

from agents.errors import Interrupted
from agents.resumption.checkpoint import checkpoint_to_resume
from agents.resumption.signals import SignalWatch

SHORT = ["--env", "CartPole-v1", "--budget", "300", "--n-envs", "2", "--n-steps", "64", "--batch-size", "128"]
SHORT += ["--n-epochs", "1", "--eval-every", "100000", "--eval-episodes", "2", "--run-name", "run", "--no-progress"]

HANGUP = getattr(signal, "SIGHUP", None)
has_hangup = pytest.mark.skipif(HANGUP is None, reason="Windows has no SIGHUP")


def start(cwd: Path, *options: str) -> "subprocess.Popen[str]":
    # A terminal sends Ctrl-C to a foreground process, which does not ignore it as one in the background may.
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *options],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for(path: Path, process: "subprocess.Popen[str]", lines: int = 0) -> None:
    for _ in range(3000):
        if path.exists() and len(path.read_bytes().splitlines()) >= lines:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    raise TimeoutError(path)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param(HANGUP, 129, marks=[pytest.mark.slow, has_hangup]),
    ],
)
def test_signal_stops_with_a_checkpoint(number: signal.Signals, code: int, tmp_path: Path) -> None:
    run = tmp_path / "logs" / "CartPole-v1" / "run"
    process = start(tmp_path, *SHORT, "--total-timesteps", "10000000")
    wait_for(run / "progress.csv", process, lines=5)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert errors.count("\n") == 1, errors
    assert f"python train.py --resume {run.relative_to(tmp_path)}" in errors
    checkpoint = checkpoint_to_resume(run)
    assert checkpoint is not None
    assert checkpoint.steps > 0
    assert not (run / "best").exists()

    if number == signal.SIGTERM:
        process = start(tmp_path, "--resume", str(run), "--total-timesteps", str(checkpoint.steps + 256))
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert f"after {checkpoint.steps + 256:,} steps" in output


@pytest.mark.slow
def test_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    # A step of this environment takes an hour: it is never finished.
    (tmp_path / "stuck.py").write_text(
        "import time, gymnasium, numpy as np\n"
        "class Stuck(gymnasium.Env):\n"
        "    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)\n"
        "    action_space = gymnasium.spaces.Discrete(2)\n"
        "    def reset(self, *, seed=None, options=None):\n"
        "        return np.zeros(2, np.float32), {}\n"
        "    def step(self, action):\n"
        "        open('stepping', 'w').close()\n"
        "        time.sleep(3600)\n"
        "gymnasium.register('Stuck-v0', entry_point=Stuck)\n"
    )
    os.environ["PYTHONPATH"] = str(tmp_path)
    try:
        process = start(tmp_path, *SHORT, "--env", "stuck:Stuck-v0")
    finally:
        del os.environ["PYTHONPATH"]
    wait_for(tmp_path / "stepping", process)
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=5)
    assert process.returncode == -signal.SIGINT
    assert "Traceback" not in errors


@has_hangup
def test_a_second_hangup_says_nothing_new() -> None:
    before = signal.getsignal(signal.SIGHUP)
    with SignalWatch() as watch, watch.deferred():
        for _ in range(2):  # the system sends one when a terminal is closed, and the shell another
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0)  # a look at the handlers
        with pytest.raises(Interrupted) as caught:
            watch.check()
    assert caught.value.exit_code == 129
    assert signal.getsignal(signal.SIGHUP) is before


@has_hangup
def test_an_ignored_hangup_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with SignalWatch() as watch, watch.deferred():
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0)
            watch.check()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signal_noted_by_an_inner_watch_is_known_to_the_outer_one() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with SignalWatch() as outer, outer.deferred():
        with SignalWatch() as inner, inner.deferred():
            outer.check()
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0)  # a look at the handlers
            assert signal.getsignal(signal.SIGTERM) is before  # a second one ends the process
        with pytest.raises(Interrupted) as caught:
            outer.check()
    assert caught.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is before
