"""The command line: each command parses, calls one library function, and renders its result.

Results go to stdout (`--json` for machines), progress to stderr. Exit codes are those of
`mmedge.errors`; 2 is a wrong command line, 130 an interrupt, 143 a SIGTERM.
"""

from __future__ import annotations

import importlib
import signal
import sys
from typing import Any

import click

from mmedge.cli.stdout import StdoutError, told, watched_stdout

COMMANDS = (
    "compile", "build", "verify", "run", "profile", "inspect", "init", "targets", "doctor", "cache",
    "kernels",
)  # fmt: skip


class LazyGroup(click.Group):
    """Commands are modules of this package, imported when named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The `command` of the module, or None."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"mmedge.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest command named for an unknown one."""
        import difflib

        near = difflib.get_close_matches(args[0], COMMANDS, n=1) if args else []
        if args and args[0] not in COMMANDS and near:
            ctx.fail(f"no such command {args[0]!r}. Did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mmedge")
def group() -> None:
    """From a trained multimodal PyTorch model to verified engines for edge devices."""


class Terminated(SystemExit):
    """SIGTERM: whatever is being written is taken back, as after Ctrl-C."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: mmedge's own errors are told, not traced."""
    words = sys.argv[1:] if arguments is None else arguments
    handlers = {signal.SIGTERM: _terminate, signal.SIGINT: _interrupt}
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        del handlers[signal.SIGINT]  # in the background of a shell, it is ignored
    previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        with watched_stdout():
            code = _run(words)
    except StdoutError as error:
        code = told(error)
    except BrokenPipeError:
        code = 1
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    sys.exit(code)


def _run(words: list[str]) -> int:
    """The exit code of the command, after its errors were told."""
    from mmedge.errors import MmedgeError

    try:
        result = group.main(args=words, prog_name="mmedge", standalone_mode=False)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        kind, message = type(error).__name__, error.format_message()
        return _tell({"error": kind, "message": message, "exit_code": error.exit_code}, None, words)
    except (click.Abort, KeyboardInterrupt):
        return _stopped("Interrupted", signal.SIGINT, words)
    except Terminated:
        return _stopped("Terminated", signal.SIGTERM, words)
    except MmedgeError as error:
        return _tell(error.to_dict(), f"error: {error}", words)
    except ImportError as error:
        from mmedge.optional import missing

        library = missing(error)
        if library is None:
            raise
        return _tell(library.to_dict(), f"error: {library}", words)
    # `--help` and `--version` return their exit code, commands nothing.
    return result if isinstance(result, int) else 0


# Once is enough: a second one must not stop the cleaning up. A Ctrl-C may come twice by itself,
# from the terminal and from a program that started this one and hands it on.
def _terminate(number: int, _frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise Terminated


def _interrupt(number: int, _frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _stopped(kind: str, number: signal.Signals, words: list[str]) -> int:
    facts = {"error": kind, "message": kind.lower(), "exit_code": 128 + number}
    return _tell(facts, f"{kind.lower()}; nothing half-written", words)


def _tell(facts: dict[str, Any], text: str | None, words: list[str]) -> int:
    """The error on stderr, and as JSON on stdout where JSON was asked for; its exit code."""
    if text is not None:
        click.echo(text, err=True)
    if "--json" in words:
        import json

        click.echo(json.dumps(facts))
    return int(facts["exit_code"])
