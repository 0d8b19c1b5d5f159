#!/usr/bin/env python3
"""Checks that includes point one way (docs/architecture.md, "The rooms").

usage: check_includes.py [SOURCE_DIR]      exit status 0 = all well, 1 = a wrong include, 2 = no source tree

A file in src/ROOM may include its own room and the rooms before it in ROOMS; rooms in one row do not see each other.
Public headers stand on their own: they include <coterie/...> and the system's. Apps and examples see <coterie/...>, the
system's, and files beside them.
"""
import re
import sys
from pathlib import Path

ROOMS = [
    ["base"],
    ["tensor"],
    ["comm", "kernels", "formats"],
    ["data"],
    ["ops"],
    ["routing"],
    ["routers", "balance", "experts"],
    ["mixers", "layers"],
    ["models"],
    ["objectives"],
    ["training", "inference", "distributed"],
    ["study"],
]
LEVEL = {room: level for level, row in enumerate(ROOMS) for room in row}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
SUFFIXES = {".c", ".h", ".def", ".cu", ".cc", ".cpp"}


def includes(path):
    """Yields (line number, is quoted, name)."""
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match[1] == '"', match[2]


def target(root, path, name):
    """The file that a quoted include means, or None: beside the includer first, then in src/."""
    for candidate in (path.parent / name, root / "src" / name):
        if candidate.is_file():
            return candidate.resolve()
    return None


def check_room(root, path, quoted, name):
    room = path.relative_to(root / "src").parts[0]
    if room not in LEVEL:
        return f"'{room}' is no room; known: {', '.join(LEVEL)}"
    if not quoted:
        return None if not (root / "src" / name).is_file() else f'<{name}> is internal: write "{name}"'
    found = target(root, path, name)
    if found is None:
        return f'"{name}" is neither beside this file nor in src/ (public headers: <coterie/...>)'
    if root / "src" not in found.parents:
        return f'"{name}" lies outside src/'
    other = found.relative_to(root / "src").parts[0]
    if other == room or LEVEL.get(other, len(ROOMS)) < LEVEL[room]:
        return None
    return f"{room} may not include {other}: includes point towards base"


def check_outside(root, path, quoted, name):
    """Public headers, apps and examples: nothing internal."""
    public = root / "include" in path.parents
    if not quoted:
        if name.startswith("coterie/") and not (root / "include" / name).is_file():
            return f"<{name}> is no public header"
        return f"<{name}> is internal" if (root / "src" / name).is_file() else None
    if public:
        return f'"{name}": a public header includes <coterie/...> only'
    beside = (path.parent / name).resolve()
    return None if beside.is_file() and path.parent in beside.parents else f'"{name}" is not beside this file: use <coterie/...>'


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    if not (root / "src" / "base").is_dir():
        print(f"{root} holds no src/base", file=sys.stderr)
        return 2
    files = wrong = 0
    for folder, check in [("src", check_room), ("include", check_outside), ("apps", check_outside), ("examples", check_outside)]:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in SUFFIXES or not path.is_file():
                continue
            files += 1
            for number, quoted, name in includes(path):
                problem = check(root, path, quoted, name)
                if problem:
                    wrong += 1
                    print(f"{path.relative_to(root)}:{number}: {problem}")
    print(f"{files} files, {wrong} wrong includes")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
