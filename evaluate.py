# PYTHON_ARGCOMPLETE_OK
"""Evaluate, watch and record a trained policy: python evaluate.py logs/AdroitHandHammer-v1/RUN --episodes 100.

python evaluate.py compare RUN... compares finished runs.
"""

import json
import math
import sys
from contextlib import nullcontext
from pathlib import Path

from agents.command_line import OneLineParser, given_words, run, standard_output_for_machines, whole_number
from agents.extras import require
from policies.refusal import Refusal


def main() -> None:
    """Do what the first word says: compare runs, or evaluate a policy."""
    words = given_words()
    if words[:1] == ["compare"]:
        compare_runs(words[1:])
    else:
        evaluate_one()


def compare_runs(words: list[str]) -> None:
    """Parse the options, compare the runs, write the picture and the page, and print the table."""
    parser = OneLineParser(
        prog="evaluate.py compare",
        description="Compare finished runs: final scores with intervals, learning curves, a picture and a page.",
    )
    parser.add_argument(
        "runs",
        metavar="RUN",
        type=Path,
        nargs="+",
        help="run folder, folder of a study's report, or folder that holds some",
    )
    parser.add_argument(
        "--score", default="mean_return", metavar="NAME", help="mean_return (default), success_rate or another figure"
    )
    parser.add_argument(
        "--range",
        metavar="ENV=LOW:HIGH",
        type=score_range,
        action="append",
        default=[],
        help="scores of an environment that count as 0 and 1 where several are averaged (default: the lowest and the "
        "highest of the runs); repeatable",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("comparison"), metavar="FOLDER", help="for the picture and the page"
    )
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    arguments = parser.parse_args(words)
    require("studies", "a comparison")
    from agents.comparison.report import compare

    comparison = compare(arguments.runs, score=arguments.score, ranges=dict(arguments.range))
    comparison.write(arguments.out)
    for remark in comparison.remarks:
        print(f"note: {remark}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(comparison.to_dict(), indent=2))
    else:
        print(comparison)
        print(f"written: {arguments.out / 'comparison.html'}, {arguments.out / 'comparison.png'}")


def score_range(text: str) -> tuple[str, tuple[float, float]]:
    """Read ENV=LOW:HIGH.

    :raises ValueError: if it is something else
    """
    env, _, bounds = text.rpartition("=")
    low, high = map(float, bounds.split(":"))
    if not (env and -math.inf < low < high < math.inf):
        raise ValueError(text)
    return env, (low, high)


score_range.__name__ = "ENV=LOW:HIGH"  # argparse says "invalid ENV=LOW:HIGH value"


def evaluate_one() -> None:
    """Parse the options, load the policy, record it if asked, evaluate it, and report."""
    parser = OneLineParser(
        prog="evaluate.py",
        description="Evaluate a trained policy over fresh episodes; watch it, record it. "
        "evaluate.py compare RUN... compares finished runs.",
    )
    parser.add_argument(
        "policy",
        metavar="RUN_OR_ONNX",
        help="run folder, .onnx file that export.py wrote, or hf://USER/NAME: one on the Hugging Face Hub",
    )
    parser.add_argument("--which", choices=("best", "final"), help="policy of a run folder (default best)")
    parser.add_argument("--env", metavar="TEXT", help="environment of the same shapes, in place of the policy's own")
    parser.add_argument(
        "--env-arg", metavar="NAME=VALUE", action="append", default=[], help="argument of the environment; repeatable"
    )
    parser.add_argument(
        "--wrapper",
        metavar="TEXT",
        action="append",
        help="wrapper of the environment, in place of all of the policy's own; repeatable, the innermost first; named "
        "again where one is of a module of yours",
    )
    parser.add_argument("--episodes", type=whole_number, default=100, metavar="N", help="episodes (default 100)")
    parser.add_argument(
        "--seed",
        type=whole_number,
        metavar="N",
        help="seed of the first episode, the next has the next (default 2000000000: fresh to every run)",
    )
    parser.add_argument("--stochastic", action="store_true", help="draw actions as in training, not the likeliest ones")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    parser.add_argument(
        "--video",
        metavar="FILE",
        help="record the first episodes: .mp4 or .gif, or .png if the task draws a still picture",
    )
    parser.add_argument(
        "--video-of",
        choices=("episodes", "pattern"),
        help="what the video shows: episodes (default), or pattern: where the weights of a run were that moved",
    )
    parser.add_argument("--video-episodes", type=whole_number, metavar="N", help="episodes of the video (default 1)")
    parser.add_argument("--watch", action="store_true", help="show the episodes in a window, one after the other")
    arguments = parser.parse_args()
    if arguments.video_episodes is not None and arguments.video is None:
        raise Refusal("`video_episodes` does nothing by itself: `video` FILE is needed with it")
    source = arguments.policy
    if source.startswith("hf://"):
        require("hub", source)
        from agents.hub.repository import fetch

        source = fetch(source)
    from agents.evaluation import FRESH_SEED
    from agents.trained.pattern_film import record_patterns
    from agents.trained.policy import load_trained_policy
    from agents.trained.recording import record
    from agents.trained.report import evaluate_policy
    from envs.arguments import parse_arguments
    from envs.lookup import check_environment
    from envs.wrapping import WRAPPERS

    if arguments.video_of is not None and arguments.video is None:
        raise Refusal("`video_of` does nothing by itself: `video` FILE is needed with it")
    # Environments may print; of --json nothing but JSON is standard output.
    with standard_output_for_machines() if arguments.json else nullcontext():
        policy = load_trained_policy(
            source,
            which=arguments.which,
            env=arguments.env and check_environment(arguments.env),
            env_arguments=parse_arguments(arguments.env_arg),
            wrappers=None if arguments.wrapper is None else WRAPPERS.import_all(arguments.wrapper),
        )
        first_seed = FRESH_SEED if arguments.seed is None else arguments.seed
        common = {"first_seed": first_seed, "deterministic": not arguments.stochastic}
        if arguments.video_of == "pattern":
            if arguments.video_episodes is not None:
                raise Refusal("`video_episodes` does not fit `video_of` pattern: leave it out")
            record_patterns(policy, arguments.video)
        elif arguments.video is not None:
            episodes = 1 if arguments.video_episodes is None else arguments.video_episodes
            record(policy, arguments.video, episodes=episodes, **common)
        report = evaluate_policy(policy, episodes=arguments.episodes, watch=arguments.watch, **common)
    if arguments.json:
        print(json.dumps(report.to_dict() | ({"video": arguments.video} if arguments.video else {}), indent=2))
    else:
        print(report)
        if arguments.video:
            print(f"video: {arguments.video}")


if __name__ == "__main__":
    run(main, prints_its_result=True)
