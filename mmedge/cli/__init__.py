"""The command line: each command parses, calls one library function, and renders its result.

Results go to stdout (`--json` for machines), progress to stderr. Exit codes are those of
`mmedge.errors`; 2 is a wrong command line, 130 an interrupt.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

COMMANDS = (
    "compile", "verify", "run", "profile", "inspect", "init", "targets", "doctor", "cache",
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


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: mmedge's own errors are told, not traced."""
    from mmedge.errors import MmedgeError

    words = sys.argv[1:] if arguments is None else arguments
    try:
        group.main(args=words, prog_name="mmedge", standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        kind, message = type(error).__name__, error.format_message()
        _tell({"error": kind, "message": message, "exit_code": error.exit_code}, None, words)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _tell(
            {"error": "Interrupted", "message": "interrupted", "exit_code": 130},
            "interrupted; nothing half-written",
            words,
        )
        sys.exit(130)
    except MmedgeError as error:
        _tell(error.to_dict(), f"error: {error}", words)
        sys.exit(error.exit_code)
    except ImportError as error:
        from mmedge.optional import missing

        told = missing(error)
        if told is None:
            raise
        _tell(told.to_dict(), f"error: {told}", words)
        sys.exit(told.exit_code)


def _tell(facts: dict[str, Any], text: str | None, words: list[str]) -> None:
    """The error on stderr, and as JSON on stdout where JSON was asked for."""
    if "--json" in words:
        import json

        click.echo(json.dumps(facts))
    if text is not None:
        click.echo(text, err=True)
