# PYTHON_ARGCOMPLETE_OK
"""Export a trained policy as one file: python export.py logs/AdroitHandHammer-v1/first --output policy.onnx."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from agents.command_line import OneLineParser, run
from agents.extras import require

if TYPE_CHECKING:
    from agents.export.export import Export


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
    parser.add_argument("--card", action="store_true", help="write a model card, README.md, beside the file")
    parser.add_argument(
        "--push-to-hub",
        metavar="USER/NAME",
        help="upload the file and its model card to this repository of the Hugging Face Hub, made if there is none",
    )
    arguments = parser.parse_args()
    require("export", "an export")
    from agents.export.export import OBSERVATIONS, TOLERANCE, UnfaithfulExport, export_policy
    from envs.lookup import check_environment
    from envs.wrapping import WRAPPERS

    env = None if arguments.env is None else check_environment(arguments.env)
    wrappers = None if arguments.wrapper is None else WRAPPERS.import_all(arguments.wrapper)
    on_hub = arguments.card or arguments.push_to_hub is not None
    if on_hub:
        check_hub(arguments)
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
    if on_hub:
        publish(arguments, export)


def check_hub(arguments: argparse.Namespace) -> None:
    """Refuse a card or a repository that cannot be written, before anything is computed."""
    require("hub", "`card`" if arguments.card else "`push_to_hub`")
    from agents.hub.card import check_card_place
    from agents.hub.repository import check_repository

    if arguments.card:
        check_card_place(Path(arguments.output).parent if arguments.output else Path(arguments.run))
    if arguments.push_to_hub is not None:
        check_repository(arguments.push_to_hub)


def publish(arguments: argparse.Namespace, export: "Export") -> None:
    """Write the model card, and upload it with the file, as asked."""
    from agents.hub.card import check_card_place, model_card
    from agents.hub.repository import POLICY, push
    from agents.runs.files import write_whole
    from agents.runs.folder import RunFolder

    configuration = RunFolder.open(arguments.run).read_configuration()
    on_hub = arguments.push_to_hub
    name = export.path.name if on_hub is None else POLICY
    card = model_card(export.metadata, configuration, arguments.which, name, on_hub)
    if arguments.card:
        file = check_card_place(export.path.parent)
        write_whole(file, card)
        print(f"card: {file}")
    if on_hub is not None:
        print(f"uploaded: {push(on_hub, export.path, card)}")


if __name__ == "__main__":
    run(main)
