"""Taking checkpoints while a training runs, and going on from one."""

import time
from collections.abc import Sequence
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from agents.monitoring.periodic import PeriodicCallback
from agents.ppo.sequence_ppo import SequencePPO
from agents.resumption.callback_states import by_state_key, callback_states, set_callback_states
from agents.resumption.checkpoint import Checkpoint, write_checkpoint
from agents.resumption.logs import flush_logs, log_positions
from agents.resumption.state import pending_log, random_states, set_training_state, training_state
from agents.runs.folder import RunFolder
from envs.vectorized.state_tree import StateTree
from policies.streams import say

LONGEST = 10**10
"""Seconds that a training may have taken."""


class CheckpointCallback(PeriodicCallback):
    """Writes a checkpoint at the start of a training, every `every` steps, and at its end.

    At the end of each update it copies, in memory, all that the future depends on; that is what it writes when it is
    due, and what `write` writes when a training is broken off in the middle of the next rollout. It stands last among
    the callbacks, so that an evaluation at the same place is part of it; `before_others` stands first, so that an
    evaluation that is broken off is not.

    :param folder: of the run
    :param every: environment steps
    :param keep: how many checkpoints stay
    :param others: the callbacks whose states belong to the run
    :raises Refusal: if two of them have the same key
    """

    def __init__(self, folder: RunFolder, *, every: int, keep: int, others: Sequence[BaseCallback]) -> None:
        super().__init__(every)
        self._due = 0
        self._acted_at = -1
        self.folder = folder
        self.keep = keep
        self.others = by_state_key(others)
        self.before_others = _BeforeOthers(self)
        self.resumptions: list[dict[str, Any]] = []
        self.seconds_before = 0.0
        self._checkpoint: Checkpoint | None = None
        self._written_at = -1

    def restore(self, algorithm: SequencePPO, checkpoint: Checkpoint, changed: dict[str, Any]) -> None:
        """Return a learner and the other callbacks to a checkpoint, before the learner goes on.

        :param changed: options that have another value from here on, for the record
        :raises Refusal: if the checkpoint does not fit the run
        """
        tree = checkpoint.tree()
        counters, earlier = tree.table("training").table("counters"), tree.row("resumptions")
        counters.whole("num_timesteps", checkpoint.steps, checkpoint.steps)
        self.seconds_before = counters.number("seconds")
        if not 0 <= self.seconds_before <= LONGEST:
            counters.refuse("seconds", f"a number from 0 to {LONGEST}")
        same_environments = "env_arguments" not in changed
        exact = set_training_state(algorithm, tree.table("training"), same_environments=same_environments)
        set_callback_states(self.others, tree.table("callbacks"))
        self.resumptions = [
            *(_resumption(earlier.table(index)) for index in earlier),
            {"steps": checkpoint.steps, "exact": exact, "changed": changed},
        ]
        # In other environments it is another run from here on, which the checkpoint has to say even if no step follows.
        self._acted_at = self._written_at = checkpoint.steps if same_environments else -1
        self._due = self._next(checkpoint.steps)
        if not exact:
            say("note: these environments cannot be restored exactly, so new episodes begin")

    def capture(self) -> None:
        """Copy the learner and the callbacks' states."""
        self._capture(training_state(self.model))

    def act(self) -> None:
        self.write()

    def write(self) -> None:
        """Write the state at the end of the last update, unless there is none yet or it is written already.

        :raises OSError: if it, or a log, cannot be written; it is written where it can be, whatever becomes of the logs
        """
        if self._checkpoint is None or self._checkpoint.steps == self._written_at:
            return
        trouble = None
        try:
            flush_logs(self.logger, self.folder.path)
        except OSError as error:
            trouble = error
        positions = log_positions(self.logger, self.folder.path)
        checkpoint = Checkpoint(self._checkpoint.steps, {**self._checkpoint.state, "logs": positions})
        write_checkpoint(self.folder.path, checkpoint, self.keep)
        self._written_at = checkpoint.steps
        if trouble is not None:
            raise trouble

    def _capture(self, training: dict[str, Any]) -> None:
        state = {
            "training": training,
            "callbacks": callback_states(self.others),
            "resumptions": self.resumptions,
        }
        self._checkpoint = Checkpoint(self.num_timesteps, state)

    def _on_training_start(self) -> None:
        self.model.start_time = time.time_ns() - int(self.seconds_before * 1e9)
        self.model._num_timesteps_at_start = 0

    def _on_rollout_start(self) -> None:
        self._add_records()
        super()._on_rollout_start()

    def _on_training_end(self) -> None:
        self._add_records()
        super()._on_training_end()

    def _add_records(self) -> None:
        assert self._checkpoint is not None
        # What another callback may have changed; the rest is as it was captured a moment ago.
        changed = {"log": pending_log(self.logger), "random": random_states(self.model)}
        self._capture(self._checkpoint.state["training"] | changed)


def _resumption(tree: StateTree) -> dict[str, Any]:
    changed = tree.table("changed")
    options = {name: changed.plain(name, int, float, bool, str, type(None)) for name in changed}
    return {"steps": tree.whole("steps"), "exact": tree.flag("exact"), "changed": options}


class _BeforeOthers(BaseCallback):
    def __init__(self, checkpoints: CheckpointCallback) -> None:
        super().__init__()
        self.checkpoints = checkpoints

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        self.checkpoints.capture()

    def _on_training_end(self) -> None:
        self.checkpoints.capture()
