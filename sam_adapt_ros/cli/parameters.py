"""The parameter reference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sam_adapt_ros.cli.app import PATH, app, print_written
from sam_adapt_ros.io.outputs import prepare_file, write_text

REFERENCE = Path("docs/parameters.md")


@app.command(rich_help_panel="Models")
def parameters(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write it to this file instead.", show_default=False, **PATH)
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help=f"Only compare it with that file, by default {REFERENCE}; 1 if they differ.")
    ] = False,
) -> None:
    """Print the reference of all parameters, as Markdown: types, defaults, ranges, units, meanings."""
    from sam_adapt_ros.config import reference

    if check:
        reference.check(output or REFERENCE)
    elif output is None:
        typer.echo(reference.markdown(), nl=False)
    else:
        prepare_file(output, force=True)
        write_text(output, reference.markdown())
        print_written(output)
