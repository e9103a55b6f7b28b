"""Callbacks of a user's own, in a module that `--callback` or `--import` names."""

from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback


class Counting(BaseCallback):
    """Counts steps and writes their number into a file; its state is the number.

    :param stop_at: ends the training there; 0: never
    :param raise_at: raises there; 0: never
    """

    def __init__(self, file: str = "counted.txt", stop_at: int = 0, raise_at: int = 0) -> None:
        super().__init__()
        self.file, self.stop_at, self.raise_at = Path(file), stop_at, raise_at
        self.count = 0

    def get_state(self) -> dict[str, Any]:
        return {"count": self.count}

    def set_state(self, state: dict[str, Any]) -> None:
        self.count = state["count"]

    def _on_step(self) -> bool:
        self.count += 1
        if self.num_timesteps == self.raise_at:
            raise LookupError("nothing\nto count")
        return self.num_timesteps != self.stop_at

    def _on_training_end(self) -> None:
        self.file.write_text(str(self.count))


class Remembering(BaseCallback):
    """Has a state that is its memory; without one, none can be had."""

    def __init__(self, memory: Any) -> None:
        super().__init__()
        self.memory = memory

    def get_state(self) -> dict[str, Any]:
        if self.memory is None:
            raise LookupError("nothing to remember")
        return {"memory": self.memory}

    def set_state(self, state: dict[str, Any]) -> None:
        self.memory = state["memory"]

    def _on_step(self) -> bool:
        return True


class Unmade(BaseCallback):
    def __init__(self) -> None:
        raise RuntimeError("no\nluck")

    def _on_step(self) -> bool:
        return True
