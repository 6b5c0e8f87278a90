"""Pages from templates: how numbers look, and files that appear whole."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from myosynth.storage import atomic_file

__all__ = ["flattened", "number", "page", "unit", "write_text"]


def number(value: Any, digits: int = 3) -> str:
    """A value for a page: a dash for None, three significant digits for floats."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        text = f"{value:.{digits}g}"
        return text if "e" not in text or abs(value) < 1e-4 else f"{value:,.0f}"
    return str(value)


def on_axis(z: float) -> str:
    """z with two decimals and no minus before zero."""
    return f"{round(z, 2) + 0.0:.2f}"


def unit(row: Mapping[str, Any]) -> str:
    """A row's unit as it stands behind its value."""
    name = row["unit"]
    return " of 1" if name == "0-1" else f" {name}" if name else ""


def inline(text: Any) -> str:
    """Text as one piece of a Markdown line or table cell; nothing in it is markup."""
    plain = " ".join(str(text).split())
    for sign in "\\`*_[]<>|#":
        plain = plain.replace(sign, f"\\{sign}")
    return plain


def flattened(content: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested mappings and lists as (dotted name, text), in order."""
    if isinstance(content, Mapping):
        items = [(str(key), value) for key, value in content.items()]
    elif isinstance(content, list) and any(isinstance(item, Mapping | list) for item in content):
        items = [(str(key + 1), value) for key, value in enumerate(content)]
    else:
        text = ", ".join(map(str, content)) if isinstance(content, list) else number(content, 12)
        return [(prefix, text)]
    return [
        line
        for key, value in items
        for line in flattened(value, f"{prefix}.{key}" if prefix else key)
    ]


@cache
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=lambda name: name is not None and name.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "unit": unit, "inline": inline, "z": on_axis}
    return environment


def page(template: str, **content: Any) -> str:
    from myosynth import __version__

    text: str = _environment().get_template(template).render(version=__version__, **content)
    return text


def write_text(path: Path, text: str) -> None:
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
