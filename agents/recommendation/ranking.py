"""A recommendation as a table of plain text."""

from agents.recommendation.parent import COVERAGE
from agents.recommendation.recommend import Candidate, Recommendation
from policies.text_table import aligned

SHOWN = 12
"""Networks of a table, the best ones."""


def format_ranking(found: Recommendation) -> str:
    """Lay out the best networks, how sure that is, and why."""
    facts, best = found.facts, found.ranked[0]
    # Where nothing is predicted, the rule says what to take, and nothing of the others.
    shown = found.by_score[:SHOWN] if best.score is not None else (best,)
    rows = [("rank", "network", "hidden units", "score", f"{COVERAGE:.0%} interval")]
    rows += [(str(rank), *_row(found, one)) for rank, one in enumerate(shown, start=1)]
    kind = "choices" if facts.chooses else "Box actions"
    learned = "from demonstrations" if facts.imitates else "from rewards"
    lines = [
        f"{facts.n_inputs:,} inputs, {facts.n_outputs:,} outputs ({kind}), episodes of {facts.episode_length:,.0f} "
        f"steps, {learned}, {best.network.budget:,} weights per network",
        "",
        *(f"  {line}".rstrip() for line in aligned(rows, left=(1,))),
        "",
        f"recommended: {found.sentence}",
    ]
    if best.score is not None:
        lines.append("a score of 1 is that of the best network of the task, 0 the lowest that any training of it had")
    if found.nearest:
        lines.append(f"the nearest of the {found.parent.n_tasks} tasks that the parent knows, and their best networks:")
        lines += [f"  {known.task}: {known.best}" for known in found.nearest]
    return "\n".join(lines)


def _row(found: Recommendation, candidate: Candidate) -> tuple[str, str, str, str]:
    network, interval = candidate.network, found.interval(candidate)
    score = "unknown" if candidate.score is None else f"{candidate.score:.2f}"
    between = "unknown" if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}"
    return network.title, f"{network.n_hidden:,}", score, between
