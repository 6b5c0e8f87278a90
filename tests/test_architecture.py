"""The house's rules: imports run one way, nothing heavy is imported early, modules stay small."""

import ast
import resource
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "myosynth"
ALLOWED = {
    "errors": set(),
    "storage": {"errors"},
    "bridges": {"errors"},
    "recordings": {"errors", "storage", "bridges"},
    "signal": {"errors", "storage", "recordings"},
}
SIDE_BY_SIDE = ("diffusion", "evaluation", "ergonomics", "simulation", "formats")
for _room in SIDE_BY_SIDE:
    ALLOWED[_room] = {"errors", "storage", "recordings", "signal"}
LONGEST_MODULE = 650
LONGEST_FUNCTION = 130
"""Lines, docstring and signature included; the aim is 450 and 60 of code."""


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def dotted(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else ""


def is_typing_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imported(tree: ast.AST, *, late: bool) -> set[str]:
    """Modules of this package that `tree` imports; with `late`, inside functions too."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if is_typing_only(node):
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not late:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("myosynth")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("myosynth"):
            assert node.module is not None
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        else:
            found |= imported(node, late=late)
    return found


def as_module(name: str, known: set[str]) -> str:
    """`name`, or the module that holds it where it is a function or class."""
    while name not in known:
        name = name.rpartition(".")[0]
    return name


def parse(path: Path) -> ast.AST:
    return ast.parse(path.read_text("utf-8"))


def wrong_arrows(sources: dict[str, ast.AST]) -> list[str]:
    return [
        f"{name} imports {target or 'myosynth'}"
        for name, tree in sources.items()
        if (here := room(name)) not in ("", "app")
        for target in sorted({room(each) for each in imported(tree, late=True)} - {here})
        if target not in ALLOWED[here]
    ]


def test_imports_run_one_way() -> None:
    assert wrong_arrows({dotted(path): parse(path) for path in modules()}) == []


def test_a_wrong_arrow_is_seen() -> None:
    late = "def f():\n    from myosynth.diffusion import train\n"
    assert wrong_arrows({"myosynth.evaluation.x": ast.parse(late)}) == [
        "myosynth.evaluation.x imports diffusion"
    ]
    up = "from myosynth.app import pipeline"
    assert wrong_arrows({"myosynth.signal.x": ast.parse(up)}) == ["myosynth.signal.x imports app"]


def ring(graph: dict[str, set[str]]) -> list[str]:
    """A path of modules that leads back to its start, or nothing."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return path[path.index(name) :]
        if name in done:
            return []
        for target in sorted(graph.get(name, ())):
            if found := walk(target, [*path, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := walk(name, []))), [])


def test_no_import_ring() -> None:
    names = {dotted(path): path for path in modules()}
    graph = {}
    for name, path in names.items():
        targets = {as_module(each, {*names}) for each in imported(parse(path), late=False)}
        graph[name] = targets - {name, "myosynth"}
    assert ring(graph) == []


def test_a_ring_is_seen() -> None:
    assert ring({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_modules_and_functions_stay_small(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()
    assert len(lines) <= LONGEST_MODULE, f"{dotted(path)} has {len(lines)} lines"
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= LONGEST_FUNCTION, f"{dotted(path)}.{node.name} has {length} lines"


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_is_cheap() -> None:
    loaded = loaded_by("import myosynth")
    assert not loaded & {"torch", "numpy", "scipy", "zarr", "pydantic"}


def test_the_command_line_imports_nothing_heavy() -> None:
    loaded = loaded_by("import myosynth.app.commands")
    assert not loaded & {"torch", "numpy", "scipy", "zarr", "sklearn", "matplotlib", "plotly"}


def test_evaluation_needs_no_torch() -> None:
    assert "torch" not in loaded_by("import myosynth.evaluation")


def test_help_is_there_at_once() -> None:
    """In processor time: the wall clock depends on what else the machine does."""
    command = [sys.executable, "-m", "myosynth.app.cli", "--help"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "prepare" in done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0
