"""Every function of the pipeline as a command with the same options.

A command is one entry in `COMMANDS`: its name, its function (whose signature gives arguments,
options and the section of a configuration file) and what shows its result.
"""

import errno
import inspect
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from myosynth import __version__
from myosynth.app import console, pipeline
from myosynth.app.config import is_many, load_config, option_fields, settings_of
from myosynth.errors import ConfigError, MyosynthError

__all__ = ["COMMANDS", "app"]

Show = Callable[[Any, str], None]


@dataclass(frozen=True)
class Command:
    """A function of the pipeline, what shows its result (which gets the output path too), and
    whether a result is one that the exit code must tell (1)."""

    function: Callable[..., Any]
    show: Show | None = None
    is_fine: Callable[[Any], bool] | None = None


COMMANDS: dict[str, Command] = {
    "demo": Command(pipeline.demo, console.show_demo),
    "simulate": Command(pipeline.simulate, console.show_simulate),
    "import": Command(pipeline.import_recordings, console.show_import),
    "check": Command(pipeline.check, console.show_check, lambda reports: bool(reports.is_fine)),
    "info": Command(pipeline.info),
    "prepare": Command(pipeline.prepare, console.show_prepare),
    "train": Command(pipeline.train, console.show_model),
    "generate": Command(pipeline.generate, console.show_synthetic),
    "evaluate": Command(pipeline.evaluate, console.show_scores),
    "audit": Command(pipeline.audit, console.show_audit),
    "compare": Command(pipeline.compare, console.show_comparison),
    "card": Command(pipeline.card, console.show_card),
}

_FLAGS = {"n_segments": ("-n", "--n-segments"), "settings": ("--set",)}
"""Options whose flag is not simply their name."""
_OWN = ("config", "quiet", "json")


app = typer.Typer(
    name="myosynth",
    help="Synthetic surface EMG of manual-material-handling work: learn, generate, prove, share.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"myosynth {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    if not sys.warnoptions:  # libraries warn developers; users get our own sentences
        warnings.simplefilter("ignore")
        # threads of scikit-learn lose the filters of one another: a filter is not enough
        warnings.showwarning = _unheard


def _unheard(*_: Any, **__: Any) -> None:
    pass


def _add(name: str, command: Command) -> None:
    """Make a typer command whose parameters are those of the function."""
    arguments, options = _arguments(command.function), _options(command.function)
    extra = [_own_option("quiet", bool, "Show errors only.")]
    if name == "info":
        extra.append(_own_option("json", bool, "Print JSON in place of tables."))
    if options:
        extra.insert(0, _own_option("config", str, "YAML file, or a provenance.json to repeat."))

    def run(**given: Any) -> None:
        own = {key: given.pop(key, None) for key in _OWN}
        paths = [given.pop(each.name) for each in arguments]
        with _sentences(name, paths):
            _run(name, command, paths, given, own)

    run.__signature__ = inspect.Signature([*arguments, *options, *extra])  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in (*arguments, *options, *extra)}
    summary = inspect.cleandoc(command.function.__doc__ or "").split("\n\n")[0]
    app.command(name, help=" ".join(summary.split()))(run)


def _run(
    name: str, command: Command, paths: list[str], given: dict[str, Any], own: Mapping[str, Any]
) -> None:
    functions = {key: each.function for key, each in COMMANDS.items()}
    sections = load_config(own["config"], functions) if own["config"] else {}
    fields = option_fields(command.function)
    stated = {
        key: _mapping(key, value) if _is_dict(fields[key][0]) else value
        for key, value in given.items()
        if value not in (None, [], ())
    }
    try:
        options = settings_of(command.function, {**sections.get(name, {}), **stated})
    except ConfigError as error:
        first, _, rest = str(error).partition(" ")
        flag = _flags(first)[-1] if first in fields else first
        raise ConfigError(f"{flag} {rest}") from error
    parameters = inspect.signature(command.function).parameters
    if "sections" in parameters:
        options["sections"] = {key: value for key, value in sections.items() if key != name}
    quiet = bool(own["quiet"])
    if name == "info":
        facts = command.function(*paths, **options)
        if not quiet:
            console.show_info(facts, bool(own["json"]))
        return
    with console.progress_bar(name, quiet=quiet) as told:
        result = command.function(*paths, **options, on_progress=told)
    if command.show and not quiet:
        command.show(result, paths[-1])
    if command.is_fine and not command.is_fine(result):
        raise typer.Exit(1)


@contextmanager
def _sentences(name: str, paths: Sequence[str]) -> Iterator[None]:
    """Every foreseen mishap as one sentence on stderr; 2, or 130 where the user stopped it."""
    try:
        yield
    except MyosynthError as error:
        _fail(" ".join(str(error).split()))
    except KeyboardInterrupt:
        _fail(f"stopped; {_how_to_go_on(name, paths)}", code=130)
    except MemoryError:
        _fail("there is not enough memory; use fewer or shorter segments")
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        _fail(_about_files(error))


def _how_to_go_on(name: str, paths: Sequence[str]) -> str:
    if name == "train" and not Path(f"{paths[-1]}.training").exists():
        return "nothing was saved yet, so run it again (or with --resume)"
    if name not in ("train", "demo"):
        return "nothing half-written was left behind"
    words = sys.argv[1:] if Path(sys.argv[0]).name == "myosynth" else [name, *map(str, paths)]
    words = [word for word in words if word not in ("--resume", "--overwrite")]
    return f"go on with: {shlex.join(['myosynth', *words, '--resume'])}"


def _fail(sentence: str, code: int = 2) -> None:
    sys.stdout.flush()
    typer.echo(f"Error: {sentence}", err=True)
    raise typer.Exit(code)


def _about_files(error: OSError) -> str:
    where = error.filename2 or error.filename
    at = f" at {where}" if where else ""
    short = error.errno is None and "written" in str(error)  # numpy's way to say it
    if short or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"the disk is full{at}; free some space and run it again, nothing was left behind"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"permission denied{at}; choose another place or change its permissions"
    return f"{error.strerror or error}{at}"


# ---- signatures ----


def _arguments(function: Callable[..., Any]) -> list[inspect.Parameter]:
    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
    found = [p for p in inspect.signature(function).parameters.values() if p.kind is positional]
    return [_argument(each) for each in found]


def _argument(parameter: inspect.Parameter) -> inspect.Parameter:
    many = is_many(parameter)
    optional = parameter.default is None
    kind: Any = list[str] if many else str | None if optional else str
    shown = typer.Argument(
        metavar=f"{parameter.name.upper()}..." if many else parameter.name.upper(),
        show_default=not optional,
    )
    stated = parameter.default in (inspect.Parameter.empty, None)
    return inspect.Parameter(
        parameter.name,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=parameter.default if stated else str(parameter.default),
        annotation=Annotated[kind, shown],
    )


def _options(function: Callable[..., Any]) -> list[inspect.Parameter]:
    found = []
    for name, (annotation, default) in option_fields(function).items():
        field = next(item for item in annotation.__metadata__ if isinstance(item, FieldInfo))
        inner = get_args(annotation)[0]
        many = _is_dict(annotation) or _core(inner) is tuple
        kind: Any = bool if _core(inner) is bool else list[str] if many else str
        shown = "" if default in (None, (), False) else f" (default {_number(default)})"
        option = typer.Option(
            *_flags(name),
            help=f"{field.description}{shown}",
            metavar=None if kind is bool else _metavar(inner),
            show_default=False,
        )
        found.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[kind | None, option],
            )
        )
    return found


def _own_option(name: str, kind: type, text: str) -> inspect.Parameter:
    option = typer.Option(f"--{name}", help=text, metavar="FILE" if kind is str else None)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, option],
    )


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _flags(name: str) -> tuple[str, ...]:
    return _FLAGS.get(name, (f"--{name.replace('_', '-')}",))


def _core(annotation: Any) -> Any:
    """The type itself, out of ``X | None`` and ``X[...]``."""
    if get_origin(annotation) not in (None, Literal, tuple, dict):
        annotation = next(each for each in get_args(annotation) if each is not type(None))
    return get_origin(annotation) or annotation


def _is_dict(annotation: Any) -> bool:
    return _core(get_args(annotation)[0]) is dict


def _metavar(annotation: Any) -> str:
    if get_origin(annotation) not in (None, Literal, tuple, dict):
        annotation = next(each for each in get_args(annotation) if each is not type(None))
    if get_origin(annotation) is Literal:
        return "|".join(get_args(annotation))
    names = {int: "N", float: "X", str: "TEXT", Path: "PATH", tuple: "NAME", dict: "KEY=VALUE"}
    return names[get_origin(annotation) or annotation]


def _mapping(name: str, items: Sequence[str]) -> dict[str, Any]:
    import yaml

    found = {}
    for item in items:
        key, sign, text = item.partition("=")
        if not (key and sign):
            raise ConfigError(f"{_flags(name)[-1]} takes KEY=VALUE, not {item!r}")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:  # such as %MVC
            value = text
        is_plain = isinstance(value, int | float | list | dict) and not isinstance(value, bool)
        is_name = text.startswith("0") and text.isdigit() and len(text) > 1  # 01 is no number
        found[key.strip()] = value if is_plain and not is_name else text
    return found


for _name, _command in COMMANDS.items():
    _add(_name, _command)
