"""Print the installed version of everything myosynth and its extras depend on, as pip constraints.

.venv/bin/python .ci/pins.py > constraints.txt
"""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def stated(name: str) -> list[str]:
    if name != "myosynth":
        return distribution(name).requires or []
    own = [f"{line}; extra == '{extra}'" for extra, lines in EXTRAS.items() for line in lines]
    return PROJECT["dependencies"] + own


def requirements(name: str, extras: set[str]) -> list[tuple[str, set[str]]]:
    found = []
    for line in stated(name):
        spec, _, marker = line.partition(";")
        match = re.match(r"\s*([A-Za-z0-9._-]+)\s*(?:\[([^\]]*)\])?", spec)
        assert match is not None
        asked = re.findall(r"extra\s*==\s*['\"]([^'\"]+)['\"]", marker)
        if not asked or extras & set(asked):
            wanted = {each.strip() for each in (match[2] or "").split(",") if each.strip()}
            found.append((match[1], wanted))
    return found


def main() -> None:
    waiting, seen = [("myosynth", set(EXTRAS))], set()
    pins: dict[str, str] = {}
    while waiting:
        name, extras = waiting.pop()
        key = (re.sub(r"[-_.]+", "-", name).lower(), frozenset(extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            version = "" if name == "myosynth" else distribution(name).version
        except PackageNotFoundError:  # for another system or Python
            continue
        if version:
            pins[key[0]] = version.partition("+")[0]
        waiting += requirements(name, extras)
    print("# The versions that are tested together; made by .ci/pins.py.")
    for name in sorted(pins):
        print(f"{name}=={pins[name]}")


if __name__ == "__main__":
    main()
