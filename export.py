# PYTHON_ARGCOMPLETE_OK
"""Export a trained policy as one file: python export.py logs/AdroitHandHammer-v1/first --output policy.onnx."""

import sys

from agents.command_line import OneLineParser, run
from agents.extras import require


def main() -> None:
    """Parse the options, export, and report what was checked and measured."""
    parser = OneLineParser(
        prog="export.py", description="Export a trained policy as one self-contained file, checked and timed."
    )
    parser.add_argument("run", metavar="RUN", help="folder of a run")
    parser.add_argument("--output", metavar="FILE", help="file to write (default: policy.onnx in RUN)")
    parser.add_argument("--which", choices=("best", "final"), default="best", help="policy of the run")
    parser.add_argument(
        "--env", metavar="TEXT", help="the run's environment, as module:id where a module of yours registers it"
    )
    parser.add_argument(
        "--wrapper",
        metavar="TEXT",
        action="append",
        help="the run's wrappers, all of them, where one is of a module of yours; repeatable",
    )
    arguments = parser.parse_args()
    require("export", "an export")
    from agents.export.export import OBSERVATIONS, TOLERANCE, UnfaithfulExport, export_policy
    from envs.lookup import check_environment
    from envs.wrapping import WRAPPERS

    env = None if arguments.env is None else check_environment(arguments.env)
    wrappers = None if arguments.wrapper is None else WRAPPERS.import_all(arguments.wrapper)
    try:
        export = export_policy(arguments.run, arguments.output, arguments.which, env, wrappers)
    except UnfaithfulExport as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    print(f"{export.path}: {export.metadata.env}, {export.n_bytes / 1e6:.3g} MB")
    differences = export.differences
    print(f"  largest difference from the policy  {differences.running:.1e} over {OBSERVATIONS} observations")
    if differences.running > TOLERANCE:
        print(f"  of a single step                    {differences.one_step:.1e}: the policy itself amplifies rounding")
    print(f"  one step of one environment         {export.microseconds:.1f} µs")


if __name__ == "__main__":
    run(main)
