"""The options that name a recipe and override its settings, for lits-train and lits-export."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from lits_runtime.cli.command import section
from lits_runtime.cli.options.arguments import EXISTING_FILE
from lits_train.settings.recipe import OLD_NAMES, RECIPES, Recipe

F = TypeVar("F", bound=Callable[..., Any])


class RecipeName(click.Choice[str]):
    """The name of a recipe; names of earlier versions are accepted."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return today's name."""
        return super().convert(OLD_NAMES.get(value, value), param, ctx)


def recipe_options(heading: str, default: str | None, recipe_help: str) -> Callable[[F], F]:
    """--recipe, --config and --set under a heading of the help."""
    option = section(heading)
    options = (
        option(
            "--recipe",
            type=RecipeName(list(RECIPES)),
            default=default,
            show_default=default is not None,
            help=recipe_help,
        ),
        option(
            "--config",
            type=EXISTING_FILE,
            help="TOML file that overrides settings of the recipe.",
        ),
        option(
            "--set",
            "settings",
            multiple=True,
            metavar="FIELD=VALUE",
            help="Override one setting, also of --config; write tuples as a,b. Repeatable.",
        ),
    )

    def add(command: F) -> F:
        for one in reversed(options):
            command = one(command)
        return command

    return add


def overridden(recipe: Recipe, config: Path | None, given: list[str]) -> tuple[Recipe, set[str]]:
    """A recipe overridden by a TOML file, then by FIELD=VALUE texts, and the fields named in both.

    Raises:
        click.UsageError: a field is unknown, or its value is not allowed.
        OSError: the file is not readable.
    """
    try:
        return _overridden(recipe, config, given)
    except ValueError as error:
        raise click.UsageError(" ".join(str(error).split())) from error


def _overridden(recipe: Recipe, config: Path | None, given: list[str]) -> tuple[Recipe, set[str]]:
    from lits_train.settings.overrides import override, read_toml

    values: dict[str, object] = dict(read_toml(config)) if config else {}
    if values:
        recipe = override(recipe, values)
    overrides: dict[str, object] = {}
    for setting in given:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"--set {setting}: expected FIELD=VALUE")
        overrides[name.strip()] = value
    return override(recipe, overrides), {*values, *overrides}
