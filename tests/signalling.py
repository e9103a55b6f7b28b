"""A callback that signals in the middle of cells of a study: a process is killed or interrupted at a step."""

import os
import signal
from pathlib import Path

from stable_baselines3.common.callbacks import BaseCallback


class Signalling(BaseCallback):
    """Send a signal at a step of some cells, at the first attempt of each alone.

    :param cells: their ids, separated by spaces
    :param step: of the cell's training, at which it is sent at the latest
    :param number: of the signal
    :param to_group: to the group of the process that started this one, as a terminal does
    """

    def __init__(self, cells: str, step: int, number: int = signal.SIGKILL, to_group: bool = False) -> None:
        super().__init__()
        self.cells, self.step, self.number, self.to_group = cells.split(), step, signal.Signals(number), to_group

    def _on_step(self) -> bool:
        run = Path(self.logger.dir or "")
        if run.name in self.cells and self.num_timesteps >= self.step:
            self.cells.remove(run.name)
            done = run.parents[2] / f"{run.name}.signalled"
            if not done.exists():
                done.touch()
                if self.to_group:
                    os.killpg(os.getpgid(os.getppid()), self.number)
                else:
                    os.kill(os.getpid(), self.number)
        return True
