"""The settings of a model as options of a command, made from the fields of `Settings`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from vis_ros.tracking.params_file import read_params_file
from vis_ros.tracking.settings import NodeSettings, Settings, convert, objection, setting, setting_type

_PANELS = {'network': 'Network', 'tracks': 'Tracks', 'propagation': 'Propagation'}
_PARAMS_FILE_HELP = (
    'ROS parameter file of a node: its settings apply, so that a tuned node is reproduced. Options override it.'
)


def with_settings(*left_out: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option for each setting. The command takes what was chosen as its argument `settings`.

    Args:
        left_out: names of settings that this command decides by itself.
    """
    items = [each for each in fields(Settings) if each.name not in left_out]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def run(params_file: Path | None, **arguments: Any) -> None:
            chosen = {each.name: arguments.pop(each.name) for each in items}
            settings = settings_from(params_file, {name: value for name, value in chosen.items() if value is not None})
            defaults = {name: getattr(Settings(), name) for name in left_out}
            command(**arguments, settings=settings.with_values(**defaults))

        signature = inspect.signature(command, eval_str=True)
        own = [each for name, each in signature.parameters.items() if name != 'settings']
        file = _option('params_file', Path, typer.Option(help=_PARAMS_FILE_HELP, rich_help_panel='Settings'))
        parameters = [*own, file, *map(_setting_option, items)]
        run.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
        )
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        return run

    return decorate


def settings_from(params_file: Path | None, chosen: dict[str, Any]) -> Settings:
    """The settings of a parameter file, if there is one, with the chosen ones instead."""
    values: dict[str, Any] = {}
    if params_file is not None:
        values = read_params_file(params_file, on_note=lambda text: typer.echo(f'vis-ros: {text}', err=True))
    for each in fields(NodeSettings):  # a value of the file that only the node uses is checked too
        if each.name in values and (reason := objection(each, convert(each, values[each.name]))):
            raise ValueError(f'{params_file}: {reason}')
    names = {each.name for each in fields(Settings)}
    unused = [each.name for each in fields(NodeSettings) if each.name not in names and _is_set(each, values)]
    if unused:
        typer.echo(f'vis-ros: {params_file}: only the node uses {", ".join(unused)}; ignored here', err=True)
    return Settings.of({name: value for name, value in values.items() if name in names} | chosen)


def _is_set(item: Field[Any], values: dict[str, Any]) -> bool:
    """Whether the values have another one than the default."""
    return item.name in values and convert(item, values[item.name]) != item.default


def option_name(name: str) -> str:
    """Of a setting on the command line: 'new_track_score' is --new-track-score."""
    return f'--{name.replace("_", "-")}'


def _setting_option(item: Field[Any]) -> inspect.Parameter:
    described, kind = setting(item), setting_type(item)
    default = repr(item.default) if item.default == '' else item.default
    choices = f' One of {", ".join(each or repr(each) for each in described.choices)}.' if described.choices else ''
    low, high = described.limits or (None, None)
    flag = option_name(item.name)
    information = typer.Option(
        f'{flag}/--no-{flag[2:]}' if kind is bool else flag,
        help=f'{described.description}{choices} \\[default: {default}]',
        rich_help_panel=f'Settings: {_PANELS[described.group]}',
        min=low,
        max=high,
        show_default=False,
    )
    return _option(item.name, kind, information)


def _option(name: str, kind: type, information: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, information]
    )
