"""config: the settings in force, where each comes from, and changing one."""

from __future__ import annotations

import sys
from typing import Any

import click

from researchflow_tmux.cli.jobargs import pass_chosen
from researchflow_tmux.cli.main import Chosen
from researchflow_tmux.cli.output import json_option, print_json


def _complete_keys(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    from researchflow_tmux.domain.workspace import Settings

    return [name for name in Settings.__struct_fields__ if name.startswith(incomplete)]


key_argument = click.argument("key", shell_complete=_complete_keys)


@click.group(invoke_without_command=True)
@json_option
@pass_chosen
@click.pass_context
def config(ctx: click.Context, chosen: Chosen, as_json: bool) -> None:
    """Show the settings in force and where each comes from; `config set KEY VALUE` changes one."""
    if ctx.invoked_subcommand is not None:
        return
    from researchflow_tmux.hooks.secrets import shown

    workspace = chosen.workspace()
    loaded = workspace.loaded
    values = {name: getattr(loaded.settings, name) for name in loaded.settings.__struct_fields__}
    # Of hooks nothing that may be a secret: what this prints is shown to others.
    values["hooks"] = {event: [shown(hook) for hook in hooks] for event, hooks in values["hooks"].items()}
    if as_json:
        rows = {name: {"value": value, "from": loaded.origins[name]} for name, value in values.items()}
        print_json("config", {"file": workspace.paths.config, "settings": rows, "warnings": list(loaded.warnings)})
        return
    from researchflow_tmux.cli.layout import Cell, Table, show

    rows_shown = []
    for name, value in values.items():
        origin = loaded.origins[name]
        given = origin != "default"
        place = origin.removeprefix(f"{workspace.paths.root}/")
        rows_shown.append(
            (Cell(name, "bold" if given else ""), Cell(_text(value)), Cell(place, "" if given else "dim"))
        )
    show([Table(rows_shown, give=(1,))])
    for warning in loaded.warnings:
        click.echo(f"note: {warning}", err=True)


@config.command("get")
@key_argument
@pass_chosen
def get(chosen: Chosen, key: str) -> None:
    """Print one value, as it stands in force."""
    settings = chosen.workspace().settings
    _check_key(key)
    click.echo(_text(getattr(settings, key)))


@config.command("set", context_settings={"ignore_unknown_options": True})
@key_argument
@click.argument("value")
@pass_chosen
def set_(chosen: Chosen, key: str, value: str) -> None:
    """Change one value in scheduler_config.yml and not a byte besides; a running scheduler takes it over."""
    from researchflow_tmux.api import asking

    workspace = chosen.workspace()
    old = workspace.set(key, value)
    before = old if old else f"{_text(_default(key))} (default)"
    click.echo(f"{key}: {before} → {value}")
    if asking.scheduler(workspace.paths) is not None:
        click.echo("the running scheduler took it over; running jobs keep what they were started with")
    else:
        click.echo("no scheduler is running; it holds from the next `rfsched start` on")


@config.command("schema")
def schema() -> None:
    """Print the JSON Schema of scheduler_config.yml, for editors."""
    import json

    from researchflow_tmux.adapters.config_reference import settings_schema

    sys.stdout.write(json.dumps(settings_schema(), indent=2, ensure_ascii=False) + "\n")


def _check_key(key: str) -> None:
    from researchflow_tmux.domain.errors import UsageError
    from researchflow_tmux.domain.workspace import Settings

    if key not in Settings.__struct_fields__:
        import difflib

        close = difflib.get_close_matches(key, Settings.__struct_fields__, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "`rfsched config` lists the keys"
        raise UsageError(f"there is no key {key!r}", hint=hint)


def _default(key: str) -> Any:
    from researchflow_tmux.domain.workspace import Settings

    return getattr(Settings(task_name=""), key)


def _text(value: Any) -> str:
    """As it would stand in the file."""
    import json

    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str):
        return value if value else '""'
    import msgspec

    return json.dumps(msgspec.to_builtins(value), ensure_ascii=False)
