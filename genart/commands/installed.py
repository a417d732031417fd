"""Commands that say what is installed: stages, plugins, schema."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genart import completion
from genart.errors import StageError, UsageError, did_you_mean

from .app import Json, PluginFiles, app, at_home
from .printing import console_of, plain, print_json

if TYPE_CHECKING:
    from genart.plugins import Plugin
    from genart.stages import Operation, Stage


@app.command()
def stages(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Explain one stage.", show_default=False, autocompletion=completion.stages)
    ] = None,
    operation: Annotated[
        str | None,
        typer.Argument(
            metavar="OPERATION",
            help="Explain one of the operations that it lists.",
            show_default=False,
            autocompletion=completion.operations,
        ),
    ] = None,
    plugin: PluginFiles = None,
    json_: Json = False,
) -> None:
    """List the stages, or explain one: its parameters and operations."""
    from genart.params import rows
    from genart.plugins import Plugins

    plugins = Plugins(plugin or ())
    found = [plugins.stage(name)] if name else plugins.stages()
    if operation is not None:
        _explain_operation(found[0], operation, json_)
        return
    if json_:
        listed = [_stage_row(stage) for stage in found]
        print_json(listed[0] if name else listed)
        return
    if name:
        explain_stage(found[0].name, found[0].doc, flow(found[0].takes, found[0].gives), rows(found[0].params))
        _list_operations(found[0])
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("stage", "takes → gives", "what it does"):
        table.add_column(column)
    for stage in found:
        table.add_row(f"[cyan]{stage.name}[/]", flow(stage.takes, stage.gives), stage.summary)
    console_of().print(table)


def _stage_row(stage: Stage) -> dict[str, Any]:
    from genart.params import rows

    return {
        "name": stage.name,
        "summary": stage.summary,
        "takes": stage.takes,
        "gives": dict(stage.gives),
        "random": stage.random,
        "doc": stage.doc,
        "params": rows(stage.params),
        "operations": {name: operation.summary for name, operation in _operations(stage).items()},
    }


def _operations(stage: Stage) -> Mapping[str, Operation]:
    return stage.operations() if stage.operations is not None else {}


def _list_operations(stage: Stage) -> None:
    from rich.table import Table

    found = _operations(stage)
    if not found:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("operation", "what it does"):
        table.add_column(column)
    for name, operation in found.items():
        table.add_row(f"[cyan]{plain(name)}[/]", plain(operation.summary))
    console_of().print("", table, f"\ngenart stages {stage.name} OPERATION lists the parameters of one", sep="\n", highlight=False)


def _explain_operation(stage: Stage, name: str, json_: bool) -> None:
    from genart.params import rows

    found = _operations(stage)
    if name not in found:
        hint = f"see genart stages {stage.name}" if found else "it has none"
        raise UsageError(f"{stage.name} has no operation '{name}'{did_you_mean(name, found)}", hint)
    summary, params = found[name].summary, rows(found[name].model)
    if json_:
        print_json({"name": name, "summary": summary, "params": params})
    else:
        explain_stage(name, summary, f"an operation of {stage.name}", params)


def flow(takes: str | None, gives: Any) -> str:
    """What a stage takes and gives, in a line."""
    return f"{takes or '–'} → " + ", ".join(kind if name == "output" else f"{name} ({kind})" for name, kind in gives.items())


def explain_stage(name: str, doc: str, flow: str, params: list[dict[str, Any]]) -> None:
    """Print what there is to know of a stage, or of an operation.

    Args:
        name: its name.
        doc: its documentation.
        flow: what it takes and gives, or is.
        params: rows of `genart.params.rows`.
    """
    from rich.markup import escape
    from rich.table import Table

    console = console_of()
    console.print(f"[bold cyan]{name}[/]  [dim]{flow}[/]\n\n{escape(doc)}\n", highlight=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("parameter", "type", "default", "range", ""):
        table.add_column(column)
    for row in params:
        default = (
            "[red]required[/]"
            if row["required"]
            else ""
            if row["default"] is None
            else escape(json.dumps(row["default"], ensure_ascii=False))
        )
        table.add_row(f"[cyan]{row['name']}[/]", escape(row["type"]), default, row["range"], escape(row["description"]))
    console.print(table)


@app.command("plugins")
def list_plugins(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Show one, with the traceback if it is broken; `doctor` examines all.",
            show_default=False,
            autocompletion=completion.plugins,
        ),
    ] = None,
    plugin: PluginFiles = None,
    json_: Json = False,
) -> None:
    """List the plugins, their stages, and what is broken."""
    from genart.plugins import Plugins

    if name == "doctor":
        _examine_plugins(plugin or (), json_)
        return
    registry = Plugins(plugin or ())
    found = registry.load_all()
    if name is not None:
        if name not in registry.plugins:
            raise UsageError(
                f"there is no plugin '{name}'{did_you_mean(name, registry.plugins)}", f"plugins: {', '.join(sorted(registry.plugins))}"
            )
        found = [registry.plugins[name]]
    if json_:
        print_json([_plugin_row(item) for item in found])
        return
    console = console_of()
    for item in found:
        formats = [*(f"reads {one}" for one in sorted(item.pictures)), *(f"writes {one}" for one in item.films)]
        brings = plain(", ".join([*sorted(item.stages), *formats])) or ("observes every run" if item.observes else "")
        state = f"[red]broken:[/] {plain(item.problem)}" if item.problem else brings
        origin = plain(f"{item.origin} {item.version}")
        console.print(f"[cyan]{plain(item.name)}[/] [dim]{origin}[/]  {state}", highlight=False, soft_wrap=True)
        for note in item.notes:
            console.print(f"  [yellow]{plain(note)}[/]", highlight=False, soft_wrap=True)
        if name is not None and item.traceback:
            console.print(plain(item.traceback.rstrip()), highlight=False, soft_wrap=True)


def _examine_plugins(files: Sequence[Path], json_: bool) -> None:
    """Load each plugin in a process of its own, then all together, and say what was seen; exit 4 if something is broken."""
    from genart.plugin_doctor import examine

    found = examine(files)
    if json_:
        print_json(found.as_json())
    else:
        console_of().print(found.table())
        for line in found.advice:
            console_of().print(line, highlight=False, soft_wrap=True, markup=False)
    if found.broken:
        raise typer.Exit(StageError.exit_code)


def _plugin_row(item: Plugin) -> dict[str, Any]:
    brings = {"stages": sorted(item.stages), "reads": sorted(item.pictures), "writes": list(item.films)}
    return {"name": item.name, "origin": item.origin, "version": item.version, **brings, "problem": item.problem, "notes": item.notes}


@app.command()
def schema(
    out: Annotated[Path | None, typer.Option("-o", "--out", metavar="FILE", callback=at_home, help="Write to a file.")] = None,
    plugin: PluginFiles = None,
) -> None:
    """Print a JSON schema of recipes, for editors. It is of Draft 7, and made from all installed stages."""
    from genart.artifacts import write_atomically
    from genart.plugins import Plugins
    from genart.schema import as_json, recipe_schema

    text = as_json(recipe_schema(Plugins(plugin or ()).stages())) + "\n"
    if out is None:
        typer.echo(text, nl=False)
    else:
        try:
            write_atomically(out.absolute(), text.encode())
        except FileNotFoundError:
            raise UsageError(f"-o {out}: no file can be made there", "name a file in a folder that is there") from None
