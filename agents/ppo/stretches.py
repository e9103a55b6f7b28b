"""Long stretches of what was observed in a rollout, along which the growth of a recurrent network shows."""

import numpy as np

from policies.recurrent.growth import SETTLED

STRETCHES = 4
LONGEST_STRETCH = 1_000


def over_resets(cut_episodes: bool) -> int:
    """Return for how many steps a stretch goes on over resets: growth shows in so many, if in no fewer.

    :param cut_episodes: episodes are shorter than those that the policy is to act in
    """
    return 2 * SETTLED if cut_episodes else 0


def long_stretches(observations: np.ndarray, episode_starts: np.ndarray, over_resets: int = 0) -> np.ndarray:
    """Return the observations of a few long stretches without a reset, (L, k, …), L up to `LONGEST_STRETCH`.

    The environments' sequences count as one after the other, so that a stretch may be longer than a rollout where
    episodes are; where no episode starts at all they are gone through again.

    :param observations: (T, B, …) of a rollout
    :param episode_starts: (T, B), which of them begin an episode
    :param over_resets: steps of a stretch before which it goes on over resets, for episodes that were cut short
    """
    starts = episode_starts.T.reshape(-1) > 0
    if not starts.any():
        starts = np.resize(starts, max(len(starts), LONGEST_STRETCH))
    starts[0] = True
    if over_resets:
        last = 0
        for step in np.flatnonzero(starts)[1:]:
            starts[step] = step - last >= over_resets
            last = step if starts[step] else last
    edges = np.append(np.flatnonzero(starts), len(starts))
    lengths = np.minimum(np.diff(edges), LONGEST_STRETCH)
    chosen = np.argsort(-lengths, kind="stable")[:STRETCHES]
    chosen = chosen[2 * lengths[chosen] >= lengths[chosen[0]]]
    rows = edges[chosen] + np.arange(lengths[chosen].min())[:, None]
    sequence, step = np.divmod(rows % episode_starts.size, len(observations))
    return observations[step, sequence]
