# PYTHON_ARGCOMPLETE_OK
"""Run, share, report, repeat and learn from studies of many trainings: python sweep.py run STUDY.yaml."""

import sys
from pathlib import Path

from agents.command_line import OneLineParser, run, whole_number
from agents.extras import require
from agents.studies import EXAMPLE_ADDRESS, STUDIES_DIR


def main() -> None:
    """Parse the options and do what is asked."""
    parser = OneLineParser(
        prog="sweep.py", description="Studies: many trainings, planned up front and reported together."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="run|worker|report|show|learn")
    descriptions = {
        "run": "run a study with several workers on this machine, or go on with it",
        "worker": "join a study as one worker, on this or another machine",
        "report": "write results.csv, figures and report.html",
        "show": "print the command line of one trial",
        "learn": "add studies to the table of the parent, which then recommends networks, and fit it anew",
    }
    for name, description in descriptions.items():
        command = commands.add_parser(name, help=description, description=description)
        if name == "learn":
            command.add_argument(
                "studies", type=Path, nargs="+", metavar="STUDY", help="a study file, or the folder of a report"
            )
            command.add_argument(
                "--parent", type=Path, metavar="FOLDER", help="the parent to write (default: parent in --studies-dir)"
            )
        else:
            command.add_argument("study", type=Path, metavar="STUDY.yaml", help="the study file")
        command.add_argument(
            "--storage",
            metavar="ADDRESS",
            help=f"database shared by machines, such as {EXAMPLE_ADDRESS} (default: a file in the study's folder)",
        )
        command.add_argument(
            "--studies-dir", type=Path, default=STUDIES_DIR, metavar="TEXT", help="folder of all studies"
        )
        command.add_argument(
            "--import",
            dest="modules",
            action="append",
            default=[],
            metavar="MODULE",
            help="module to import first, so that it registers environments; repeatable",
        )
        if name in ("run", "worker"):
            command.add_argument("--retry-failed", action="store_true", help="run cells that failed before again")
        if name == "run":
            command.add_argument(
                "--known",
                type=Path,
                metavar="FOLDER",
                help="report of an earlier run of the study: what it holds is not trained again",
            )
            command.add_argument(
                "--workers", type=whole_number, metavar="N", help="worker processes (default: the study's)"
            )
        if name == "report":
            command.add_argument("--out", type=Path, metavar="TEXT", help="folder of the report (default: the study's)")
        if name == "show":
            command.add_argument("--trial", type=whole_number, required=True, metavar="N", help="number of the trial")
    arguments = parser.parse_args()
    require("studies", "a study")
    from agents.studies.actions import act

    act(arguments)


if __name__ == "__main__":
    run(main, prints_its_result=sys.argv[1:2] == ["show"])
