"""Settings: each command's keyword arguments are its section of a configuration file.

A command is a function whose keyword-only parameters carry a pydantic ``Field``. From that one
signature come the options of the command line, the section of a YAML file and the checks that a
call from Python goes through.
"""

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar, get_origin

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.fields import FieldInfo

from myosynth.errors import ConfigError

__all__ = [
    "OPERATIONAL",
    "Overwrite",
    "Progress",
    "Seed",
    "checked",
    "is_many",
    "load_config",
    "option_fields",
    "plain_settings",
    "section",
    "settings_of",
    "taken",
]

Progress = Callable[[float, str], None]
"""Called with the share done (0-1) and what is being done."""

Seed = Annotated[int, Field(ge=0, description="Same seed, same result.")]
Overwrite = Annotated[bool, Field(description="Replace what is already there.")]

OPERATIONAL = ("overwrite", "resume")
"""Options that say how to run, not what to make: no configuration file holds them."""

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
Command = Callable[..., Any]


def option_fields(function: Command) -> dict[str, tuple[Any, Any]]:
    """Name → (annotation, default) of every keyword-only parameter that carries a `Field`."""
    parameters = inspect.signature(function).parameters.values()
    return {
        each.name: (each.annotation, each.default)
        for each in parameters
        if each.kind is inspect.Parameter.KEYWORD_ONLY
        and get_origin(each.annotation) is Annotated
        and any(isinstance(item, FieldInfo) for item in each.annotation.__metadata__)
    }


@functools.cache
def section(function: Command) -> type[BaseModel]:
    """The pydantic model of a command's options."""
    fields: dict[str, Any] = option_fields(function)
    strict = ConfigDict(extra="forbid", frozen=True)
    return create_model(function.__name__, __config__=strict, **fields)


def is_many(parameter: inspect.Parameter) -> bool:
    """Whether a path argument takes several paths."""
    return get_origin(parameter.annotation) is Sequence


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Check and convert a command's options, and turn its path arguments into `Path`.

    Raises
    ------
    ConfigError
        If a value is not what its option takes.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)
        given = bound.arguments
        options = {name: given[name] for name in option_fields(function) if name in given}
        given.update(settings_of(function, options))
        for name, parameter in signature.parameters.items():
            is_path = parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
            if is_path and given.get(name) is not None:
                many = is_many(parameter)
                given[name] = [*map(Path, given[name])] if many else Path(given[name])
        return function(*bound.args, **bound.kwargs)

    return call


def settings_of(
    function: Command, values: Mapping[str, Any], where: str = "", prefix: str = ""
) -> dict[str, Any]:
    """Check `values` against a command's options and fill in the defaults.

    Parameters
    ----------
    function : callable
        A command.
    values : mapping
        Option → value; numbers may come as text.
    where, prefix : str
        What a message begins with, such as the file, and what stands before the option's name.

    Raises
    ------
    ConfigError
        If an option is unknown (the nearest is named) or a value does not fit.
    """
    model = section(function)
    try:
        checked_values = model.model_validate(dict(values))
    except ValidationError as error:
        sentence = _sentence(error, list(model.model_fields), prefix)
        raise ConfigError(where + sentence) from error
    return {name: getattr(checked_values, name) for name in model.model_fields}


def taken(function: Command, values: Mapping[str, Any]) -> dict[str, Any]:
    """A command's settings, picked out of its local variables, for the record of the run."""
    return {name: values[name] for name in option_fields(function) if name not in OPERATIONAL}


def plain_settings(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """A dataclass of settings from plain values, numbers as text included.

    Raises
    ------
    ConfigError
        If a key is unknown (the nearest is named) or a value does not fit.
    """
    known = [each.name for each in fields(kind)]  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise ConfigError(f"{where}: unknown key {name!r}{_nearest(name, known)}")
    try:
        return TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        raise ConfigError(f"{where}: {_sentence(error, known)}") from error


def load_config(path: str | Path, commands: Mapping[str, Command]) -> dict[str, dict[str, Any]]:
    """Read a YAML configuration, or the ``provenance.json`` of a run to do it again.

    Parameters
    ----------
    path : path
        One section per command, with its options as keys.
    commands : mapping of str to callable
        The sections there are.

    Returns
    -------
    dict
        Command → the options that the file gives, checked.

    Raises
    ------
    ConfigError
        If the file cannot be read, or holds an unknown section or key, or a wrong value.
    """
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration {path} cannot be read ({error})") from error
    except yaml.YAMLError as error:
        text = " ".join(str(error).split())
        raise ConfigError(f"configuration {path} is not valid YAML: {text}") from error
    if isinstance(content, Mapping) and str(content.get("schema")).startswith("myosynth-prov"):
        content = content.get("config")
    if not isinstance(content, Mapping):
        raise ConfigError(
            f"configuration {path} must hold one section per command, such as "
            "'prepare: {overlap: 0.75}'"
        )
    given: dict[str, dict[str, Any]] = {}
    for name, values in content.items():
        where = f"configuration {path}: "
        if name not in commands:
            raise ConfigError(f"{where}unknown section {name!r}{_nearest(str(name), commands)}")
        if not isinstance(values, Mapping):
            raise ConfigError(f"{where}section {name} must hold keys and values, not {values!r}")
        if used := sorted(set(values) & set(OPERATIONAL)):
            raise ConfigError(
                f"{where}{name}.{used[0]} belongs on the command line, not in a configuration"
            )
        full = settings_of(commands[name], values, where, f"{name}.")
        given[name] = {key: full[key] for key in values}
    return given


def _nearest(name: str, known: Mapping[str, Any] | list[str]) -> str:
    near = difflib.get_close_matches(name, [*known], n=1, cutoff=0.0)
    return f"; the nearest is {near[0]!r}" if near else ""


def _sentence(error: ValidationError, known: list[str], prefix: str = "") -> str:
    first = error.errors()[0]
    own_name = ".".join(str(part) for part in first["loc"])
    name = prefix + own_name
    if first["type"] == "extra_forbidden":
        keys = [key for key in known if key not in OPERATIONAL]
        return f"unknown key {name!r}{_nearest(own_name, keys)}"
    value = first["input"]
    context = first.get("ctx", {})
    if first["type"] == "literal_error":
        choices = context["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        near = difflib.get_close_matches(str(value), choices, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{name} must be one of {', '.join(choices)}, not {value!r}{hint}"
    wanted = {
        "float_parsing": "a number",
        "float_type": "a number",
        "int_parsing": "a whole number",
        "int_from_float": "a whole number",
        "int_type": "a whole number",
        "bool_parsing": "true or false",
        "finite_number": "a finite number",
        "greater_than": f"above {context.get('gt', 0):g}",
        "greater_than_equal": f"{context.get('ge', 0):g} or above",
        "less_than": f"below {context.get('lt', 0):g}",
        "less_than_equal": f"{context.get('le', 0):g} or below",
    }.get(first["type"])
    if wanted:
        return f"{name} must be {wanted}, not {value!r}"
    return f"{name}: {first['msg']}, not {value!r}"
