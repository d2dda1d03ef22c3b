"""Groups of commands: plain, quick help in sections; errors told in words and by exit code."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup


class SectionedGroup(TyperGroup):
    """Lists its commands by section (`rich_help_panel`); importing rich would take longer."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands' section of the help."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is None or command.hidden:
                continue
            panel = getattr(command, "rich_help_panel", None)
            section = panel if isinstance(panel, str) else "Commands"
            summary = command.get_short_help_str(limit=400)
            sections.setdefault(section, []).append((name, summary))
        for section, rows in sections.items():
            with formatter.section(section):
                formatter.write_dl(rows)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; what it raises becomes words on stderr and an exit code."""
        if ctx.parent is not None:
            return super().invoke(ctx)
        from modelry.cli.failures import INTERRUPTED, told

        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("Interrupted.", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception as error:
            found = told(error)
            if found is None:
                raise
            from modelry.cli.output import printable

            lines, code = found
            for line in lines:
                typer.echo(printable(line), err=True)
            raise typer.Exit(code) from None


def command_group(help_text: str, **options: Any) -> typer.Typer:
    """A group of commands in the house's manner."""
    return typer.Typer(
        cls=SectionedGroup,
        help=help_text,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        **options,
    )
