"""What a training that has to stop leaves behind, and what it says."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from agents.callbacks import CallbackFailure
from agents.errors import DISK_ERRORS, Interrupted, TrainingStopped
from agents.ppo.mismatch import Mismatch
from agents.resumption.callback import CheckpointCallback
from agents.resumption.checkpoint import checkpoint_files
from agents.runs.folder import RunFolder
from envs.contract import EnvironmentFailure
from envs.vectorized.finite import NotFinite


@contextmanager
def explained_stops(folder: RunFolder, checkpoints: CheckpointCallback) -> Iterator[None]:
    """Keep what a training that is broken off has learned, and say in one line why it stopped and how to go on.

    :raises Interrupted: for a signal; the state at the end of the last update is written as a checkpoint
    :raises TrainingStopped: for an environment or a callback that raised (the same is written), for a number that is
        not finite or probabilities that are noise (nothing is written: the last checkpoint is the last good one), and
        for a disk that cannot be written (the same is written where there is room for it)

    Any other exception keeps its traceback, after the same is written.
    """
    try:
        try:
            yield
        except Interrupted as interruption:
            checkpoints.write()
            raise Interrupted(interruption.signal_number, f"interrupted; {how_to_go_on(folder)}") from None
        except (EnvironmentFailure, CallbackFailure) as failure:
            checkpoints.write()
            raise TrainingStopped(f"{failure}; {how_to_go_on(folder)}") from failure.__cause__
        except (NotFinite, Mismatch) as error:
            where = f"after {checkpoints.num_timesteps:,} steps"
            raise TrainingStopped(
                f"{where} {error}; nothing was learned from it; {how_to_go_on(folder)}, and stops there again where "
                "resuming is exact: then a new run is needed"
            ) from None
        except BaseException:  # an environment may call sys.exit
            with suppress(OSError):  # the exception tells more
                checkpoints.write()
            raise
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        raise TrainingStopped(
            f"{error.filename or folder.path} cannot be written: {error.strerror}; {how_to_go_on(folder)}"
        ) from None


def how_to_go_on(folder: RunFolder) -> str:
    """Name the newest checkpoint and the command that goes on from it."""
    files = checkpoint_files(folder.path)
    where = f"from its checkpoint after {int(files[-1].stem):,} steps" if files else "from the start"
    return f"python train.py --resume {shlex.quote(str(folder.path))} goes on {where}"
