"""The program `vis-ros`: its commands, each in a file of its own, and how it reports errors."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import traceback
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

import vis_ros
from vis_ros.cli import data, weights
from vis_ros.cli.benchmark import benchmark
from vis_ros.cli.compare_models import compare_models
from vis_ros.cli.console import console
from vis_ros.cli.demo import demo
from vis_ros.cli.doctor import doctor
from vis_ros.cli.evaluate import evaluate
from vis_ros.cli.export import export
from vis_ros.cli.node import REGISTRATION, node
from vis_ros.cli.replay import replay
from vis_ros.cli.replay_live import replay_live
from vis_ros.cli.synth import synth
from vis_ros.cli.train import train
from vis_ros.cli.train_init import train_init
from vis_ros.cli.view import view

app = typer.Typer(
    help='Video instance segmentation for ROS 2: detects, segments and tracks every object in a camera stream.',
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={'help_option_names': ['-h', '--help']},
)
app.command(**REGISTRATION)(node)
for command in (demo, replay, replay_live, view, evaluate, compare_models):
    app.command()(command)
for command in (train_init, train, export, benchmark, doctor):
    app.command()(command)
app.add_typer(weights.app, name='weights')
app.add_typer(data.app, name='data')
data.app.command()(synth)


def main() -> None:
    """Run the command line. Every error is one message, and only --debug shows the traceback.

    Errors that a user can fix are ValueError and OSError. Anything else is a fault of vis_ros or of a library, and its
    message says how to report it.
    """
    # numpy's own threads would compete with those of the network. numpy reads this when it is imported, later.
    os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')
    # Long operations report their progress: building an engine, exporting a graph.
    logging.basicConfig(format='vis-ros: %(message)s')
    logging.getLogger('vis_ros').setLevel(logging.INFO)
    for stream in (sys.stdout, sys.stderr):  # names of files and messages may hold what a terminal cannot show
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')
    try:
        app(prog_name='vis-ros')
    except Exception as error:
        if '--debug' in sys.argv:
            raise
        Console(stderr=True).print(Text(f'vis-ros: {_explain(error)}', style='red'), soft_wrap=True)
        sys.exit(1)


def _explain(error: Exception) -> str:
    """The message of an error. For one that is not meant for users: its kind, its place and how to report it."""
    if isinstance(error, ValueError | OSError) and str(error):
        return str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    first_line = next(iter(str(error).splitlines()), '')
    kind = type(error).__name__ + (f': {first_line}' if first_line else '')
    return (
        f'unexpected {kind} ({Path(place.filename).name}:{place.lineno}) in `{shlex.join(sys.argv[1:])}`. Please '
        'report it with the output of the same command after --debug: `vis-ros --debug ...`'
    )


def _print_version(wanted: bool) -> None:
    if wanted:
        console.print(f'vis_ros {vis_ros.__version__}', highlight=False)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option('--version', help='Print the version and exit.', callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option('--debug', help='Show the traceback of an error.')] = False,
) -> None:
    """Options before the command."""
