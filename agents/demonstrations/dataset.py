"""Demonstrations: whole episodes of another agent, read from a Minari data set.

A data set is data. Its metadata name an environment and an entry point; neither is looked at, so nothing that a file
names is ever imported or run.
"""

import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from gymnasium import spaces
from minari import download_dataset
from minari.dataset.minari_dataset import DATASET_ID_RE
from minari.dataset.minari_storage import MinariStorage
from minari.serialization import deserialize_space
from minari.storage import get_dataset_path

from agents.ppo.imitation import Demonstrations
from envs.contract import Unfit
from envs.flattening import FlatBox, parts_of
from envs.lookup import ActionSpace
from policies.refusal import Refusal

HELD_OUT_SHARE = 0.1
"""of the episodes, to measure the loss on episodes that were not fitted"""
LARGEST_COMPRESSION = 1032
"""of deflate, HDF5's compression; see https://zlib.net/zlib_tech.html"""

Spaces = tuple[spaces.Box, ActionSpace]
"""of the environment: observations, flat, and actions"""


def load_demonstrations(
    name: str,
    observation_space: spaces.Box,
    action_space: ActionSpace,
    episodes: int | None,
    seed: int,
) -> tuple[Demonstrations, Demonstrations]:
    """Read the demonstrations to fit, and others to measure the loss on.

    With `episodes` fewer than the data set holds, those held out come from the rest; without, a tenth is held out.

    :param name: id of a Minari data set, found locally or downloaded, or the path of one, a folder with `data/`
    :param observation_space: of the environment; the data set's must have its shape and bounds, of any type, or those
        of the space that it is the flat form of
    :param action_space: of the environment; as above
    :param episodes: how many to fit (default: all that are not held out)
    :param seed: draws which episodes are fitted and which are held out
    :return: the episodes to fit and those held out, none in common
    :raises Refusal: one line that says what does not fit: the name, the spaces, the number of episodes, an episode
        that is empty or holds a number that is not finite
    """
    needed = (observation_space, action_space)
    storage, total = _open(name, _locate(name), needed)
    if total < 2:
        raise Refusal(f"`demos` {name} holds {total} episodes: two are needed, one of them to measure the loss on")
    if episodes is not None and not 1 <= episodes < total:
        raise Refusal(f"`demo_episodes` {episodes} does not fit {name} of {total} episodes: 1 to {total - 1} is needed")
    held_out = max(1, round(HELD_OUT_SHARE * total))
    fitted = total - held_out if episodes is None else episodes
    order = np.random.default_rng(seed).permutation(total)
    chosen = np.concatenate([order[:fitted], order[fitted : fitted + held_out]])
    demonstrations = _read(name, storage, chosen, needed)
    return demonstrations.select(np.arange(fitted)), demonstrations.select(np.arange(fitted, len(chosen)))


def _locate(name: str) -> Path:
    """Return the folder with a data set's metadata.json, downloading the data set if it is not on this machine."""
    path = Path(name)
    for folder in (path / "data", path):
        if (folder / "metadata.json").is_file():
            return folder
    if path.is_dir():
        raise Refusal(f"`demos` {name} is no Minari data set: it holds no data/metadata.json")
    if not DATASET_ID_RE.fullmatch(name):
        raise Refusal(
            f"`demos` {name!r} is neither a folder nor the id of a Minari data set such as D4RL/hammer/expert-v2"
        )
    try:
        folder = get_dataset_path(name) / "data"
    except OSError as error:  # Minari makes the folder of all data sets
        raise Refusal(
            f"`demos` {name}: Minari has no folder for data sets ({error}): MINARI_DATASETS_PATH has to name one"
        ) from None
    if not folder.is_dir():
        # Its client reports every retry; what comes of them is said once, below.
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
        try:
            download_dataset(name)
        except Exception as error:  # whatever the network and its clients raise
            raise Refusal(
                f"`demos` {name} is not on this machine and cannot be downloaded: {type(error).__name__}: {error}"
            ) from error
    return folder


@contextmanager
def _damage_refused(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a damaged file can raise anything in HDF5's and Minari's readers
        raise Refusal(f"`demos` {name} is damaged: {type(error).__name__}: {error}") from error


def _open(name: str, folder: Path, needed: Spaces) -> tuple[MinariStorage, int]:
    """Return the data set and its number of episodes."""
    with _damage_refused(name):
        metadata: dict[str, Any] = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
        total = metadata["total_episodes"]
        # Were a space missing, Minari would make the environment that the file names, to ask it.
        found = [deserialize_space(metadata[key]) for key in ("observation_space", "action_space")]
        storage = MinariStorage.read(folder)
    # An episode takes more than a byte: a damaged number must not make room for billions of them.
    if type(total) is not int or not 0 <= total <= sum(file.stat().st_size for file in folder.rglob("*")):
        raise Refusal(f"`demos` {name} is damaged: its total_episodes is {total!r:.40}")
    original = needed[0].original if isinstance(needed[0], FlatBox) else needed[0]
    for kind, space, fitting in zip(("observations", "actions"), found, (original, needed[1]), strict=True):
        if not _matches(space, fitting):
            raise Refusal(
                f"`demos` {name} does not fit the environment: its {kind} are {_describe(space)}, "
                f"{_describe(fitting)} is needed"
            )
    return storage, total


def _matches(space: spaces.Space, needed: spaces.Space) -> bool:
    """Tell whether two spaces have one shape and one set of bounds; of which type the numbers are does not matter."""
    found, fitting = dict(parts_of(space)), dict(parts_of(needed))
    return [*found] == [*fitting] and all(_part_matches(found[place], fitting[place]) for place in fitting)


def _part_matches(part: Any, needed: Any) -> bool:
    if part.shape != needed.shape:
        return False
    if isinstance(needed, spaces.Box):
        return (
            isinstance(part, spaces.Box)
            and np.issubdtype(part.dtype, np.floating) == np.issubdtype(needed.dtype, np.floating)
            and np.allclose(part.low.astype(np.float32), needed.low.astype(np.float32))
            and np.allclose(part.high.astype(np.float32), needed.high.astype(np.float32))
        )
    # Of Discrete, MultiBinary and MultiDiscrete no two have the same of these.
    names = ("n", "nvec", "start")
    return all(np.array_equal(getattr(part, name, ()), getattr(needed, name, ())) for name in names)


def _describe(space: spaces.Space) -> str:
    if isinstance(space, spaces.Box) and space.low.size:
        return f"a Box of shape {space.shape} from {space.low.min():g} to {space.high.max():g}"
    return " ".join(str(space).split())


def _read(name: str, storage: MinariStorage, chosen: np.ndarray, needed: Spaces) -> Demonstrations:
    discrete = not isinstance(needed[1], spaces.Box)
    observations, actions, returns = [], [], []
    for index, episode in zip(chosen.tolist(), _episodes(name, storage, chosen), strict=True):
        try:
            # Minari records one observation more than actions: what the last step led to.
            steps = len(episode["actions"])
            seen = (
                needed[0].rows(episode["observations"], steps)
                if isinstance(needed[0], FlatBox) and steps
                else np.asarray(episode["observations"], dtype=np.float32)[:steps]
            )
            done = np.asarray(episode["actions"], dtype=np.int64 if discrete else np.float32)
            rewards = np.asarray(episode["rewards"], dtype=np.float64)
        except Unfit as error:
            raise Refusal(f"`demos` {name}: episode {index} does not fit: {error}") from None
        except (TypeError, ValueError, LookupError) as error:
            raise Refusal(f"`demos` {name}: episode {index} is damaged: {error!r}") from None
        _check_episode(f"`demos` {name}: episode {index}", seen, done, rewards, *needed)
        observations.append(seen)
        actions.append(done if discrete else done.reshape(steps, -1))
        returns.append(rewards.sum())
    lengths = np.array([len(part) for part in actions])
    return Demonstrations(_padded(observations), _padded(actions), lengths, np.array(returns))


def _episodes(name: str, storage: MinariStorage, chosen: np.ndarray) -> Iterable[dict[str, Any]]:
    with _damage_refused(name):
        for path in storage.data_path.glob("*.hdf5"):
            _check_sizes(path, chosen)
        yield from storage.get_episodes(chosen.tolist())


def _check_sizes(path: Path, chosen: np.ndarray) -> None:
    """Refuse what says that it is larger than its file can hold: HDF5 would allocate all of it before it reads."""
    held = path.stat().st_size

    def check(name: str, entry: h5py.Group | h5py.Dataset) -> None:
        if not isinstance(entry, h5py.Dataset):
            return
        stored = [entry.id.get_storage_size()]
        if entry.chunks:
            entry.id.chunk_iter(lambda chunk: stored.append(chunk.size))
        if max(stored) > held or entry.nbytes > LARGEST_COMPRESSION * held:
            raise Refusal(f"{entry.name} says that it takes {max(*stored, entry.nbytes):,} bytes, of {held:,}")

    with h5py.File(path, "r") as file:
        for index in chosen.tolist():
            file[f"episode_{index}"].visititems(check)


def _check_episode(
    where: str,
    observations: np.ndarray,
    actions: np.ndarray,
    rewards: np.ndarray,
    observation_space: spaces.Box,
    action_space: ActionSpace,
) -> None:
    steps = len(actions)
    if steps == 0:
        raise Refusal(f"{where} is empty: at least one step is needed")
    for what, array, needed in (
        ("observations", observations, (steps, *observation_space.shape)),
        ("actions", actions, (steps, *(action_space.shape or ()))),
        ("rewards", rewards, (steps,)),
    ):
        if array.shape != needed:
            raise Refusal(f"{where} has {what} of shape {array.shape}: {needed} is needed")
        if not np.isfinite(array).all():
            raise Refusal(f"{where} holds {what} that are not finite, first at step {_first_bad(array)}")
    if isinstance(action_space, spaces.Discrete):
        first, n = int(action_space.start), int(action_space.n)
        if not ((actions >= first) & (actions < first + n)).all():
            raise Refusal(f"{where} holds an action outside {first} to {first + n - 1}")
    elif not isinstance(action_space, spaces.Box):
        if not all(action_space.contains(action) for action in actions.astype(action_space.dtype)):
            raise Refusal(f"{where} holds an action outside {_describe(action_space)}")
    elif not ((actions >= _beyond(action_space.low, -1)) & (actions <= _beyond(action_space.high, 1))).all():
        raise Refusal(f"{where} holds an action outside the bounds {_describe(action_space)}")


def _first_bad(array: np.ndarray) -> int:
    return int(np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))[0])


def _padded(parts: list[np.ndarray]) -> np.ndarray:
    """Stack (T_i, …) arrays along a second axis, zeros behind their ends."""
    stacked = np.zeros((max(map(len, parts)), len(parts), *parts[0].shape[1:]), dtype=parts[0].dtype)
    for index, part in enumerate(parts):
        stacked[: len(part), index] = part
    return stacked


def _beyond(bounds: np.ndarray, sign: int) -> np.ndarray:
    """Return the bounds, a little further out (sign 1: up), since recorded actions are rounded to float32."""
    return bounds + sign * 1e-5 * np.maximum(1.0, np.abs(bounds.astype(np.float64)))
