"""The outer shell: ``parallel-ser COMMAND``. Commands live in ``parallel_ser.commands``."""

from __future__ import annotations

import traceback
from typing import Annotated, Any

import typer

from parallel_ser import __version__
from parallel_ser.commands import corpus
from parallel_ser.commands.analyze import analyze
from parallel_ser.commands.baseline import baseline
from parallel_ser.commands.bench import bench
from parallel_ser.commands.calibrate import calibrate
from parallel_ser.commands.evaluate import evaluate
from parallel_ser.commands.export import export
from parallel_ser.commands.features import features
from parallel_ser.commands.fuse import fuse
from parallel_ser.commands.options import Commands
from parallel_ser.commands.plan import plan
from parallel_ser.commands.predict import EnrolCommand, predict
from parallel_ser.commands.profile import profile
from parallel_ser.commands.runs import runs
from parallel_ser.commands.schedule import schedule
from parallel_ser.commands.strategies import strategies
from parallel_ser.commands.train import train
from parallel_ser.errors import UserError
from parallel_ser.system import stops
from parallel_ser.system.limits import explain
from parallel_ser.system.process import keep_freed
from parallel_ser.system.terminal import any_name

_TYPED = "parallel_ser.typed"


class Shell(Commands):
    """Turns what ends a command into a line on stderr and an exit status.

    ==================  ===========================  ======
    what ended it       on stderr                    status
    ==================  ===========================  ======
    ``UserError``       ``error: …``, one line       2
    no more of a limit  ``error: …``, one line       2
    a refused file      ``error: …``, one line       2
    a wrong option      the right setting, if any    2
    Ctrl-C, SIGTERM, …  ``interrupted``              130, …
    anything else       a traceback: it is a bug     1
    ==================  ===========================  ======
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep what was typed, for what is said of it."""
        ctx.meta[_TYPED] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; ``--debug`` shows the traceback of a ``UserError`` above its line."""
        try:
            with stops.as_exceptions():
                return super().invoke(ctx)
        except UserError as error:
            if ctx.params.get("debug"):
                traceback.print_exc()
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            typer.echo(stops.INTERRUPTED, err=True)
            raise typer.Exit(stops.status_of(error)) from error
        except Exception as error:
            sentence = _no_option(error, ctx.meta[_TYPED]) or explain(error)
            if sentence is None or ctx.params.get("debug"):
                raise
            typer.echo(f"error: {sentence}", err=True)
            raise typer.Exit(2) from error


def _no_option(error: Exception, typed: list[str]) -> str | None:
    """What to type instead of an option that is a setting; None where the error is another."""
    if type(error).__name__ != "NoSuchOption":  # of click, or of the click that typer brings along
        return None
    command = getattr(getattr(error, "ctx", None), "command", None)
    parameters = getattr(command, "params", ())
    if not {"overrides", "settings"} & {parameter.name for parameter in parameters}:
        return None
    from parallel_ser.config import option_as_setting

    return option_as_setting(typed, [name for parameter in parameters for name in parameter.opts])


app = typer.Typer(
    cls=Shell,
    help="Emotion recognition in speech, trained by distributed model parallelism on one machine.",
    epilog="A research tool: it names emotions that speech is heard to express, never a disorder.",
    no_args_is_help=True,
    rich_markup_mode=None,  # its tables cut names of options and choices; without it help comes in half the time
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(train)
app.command()(baseline)
app.command()(evaluate)
app.command()(export)
app.command(cls=EnrolCommand)(predict)
app.command()(analyze)
app.command()(calibrate)
app.command()(fuse)
app.command()(runs)
app.command()(features)
app.command()(strategies)
app.command()(schedule)
app.command()(plan)
app.command()(profile)
app.command()(bench)
app.add_typer(corpus.app, name="corpus")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"parallel-ser {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", envvar="PARALLEL_SER_DEBUG", help="Show the traceback of an error.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options before the command."""
    any_name()
    keep_freed()


def main() -> None:
    """Run the command line."""
    app()
