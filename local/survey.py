"""The demo's input: Python's own standard library, package by package."""

from __future__ import annotations

import ast
import sysconfig
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TEST_SUITES = frozenset({"test", "tests", "idle_test"})
"""Left out: half of all lines, and not installed everywhere."""

_parsing = threading.Lock()


@dataclass(frozen=True, slots=True)
class Function:
    """A function or method with its file and line.

    Args:
        name: qualified, such as ``Parser.feed``.
        place: ``file:line`` below the standard library's directory.
        lines: from ``def`` to its last line.
    """

    name: str
    place: str
    lines: int


@dataclass(frozen=True, slots=True)
class Survey:
    """The contents of one package, without its sub-packages.

    Args:
        longest: its longest function, or None if it has none.
        unparsed: files that are not Python of this version.
    """

    package: str
    files: int
    lines: int
    functions: int
    longest: Function | None
    unparsed: int = 0


def standard_library() -> Path:
    """Its directory in the running interpreter."""
    return Path(sysconfig.get_path("stdlib"))


def packages(root: Path) -> list[str]:
    """Dotted names of the packages, sub-packages and single modules below `root`, test suites left out."""
    names: list[str] = []
    for entry in sorted(root.iterdir()):
        if entry.suffix == ".py":
            names.append(entry.stem)
        elif _is_package(entry):
            names.extend(_with_subpackages(entry, entry.name))
    return names


def survey_package(root: Path, package: str) -> Survey:
    """Read and parse every file of one package.

    Raises:
        FileNotFoundError: `root` has neither a package nor a module of that name.
    """
    files = _files(root, package)
    lines = functions = unparsed = 0
    longest: Function | None = None
    for file in files:
        source = file.read_bytes()
        lines += source.count(b"\n")
        tree = _parse(source)
        if tree is None:
            unparsed += 1
            continue
        for name, node in _functions(tree):
            functions += 1
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if longest is None or length > longest.lines:
                longest = Function(name, f"{file.relative_to(root)}:{node.lineno}", length)
    return Survey(package, len(files), lines, functions, longest, unparsed)


def _is_package(entry: Path) -> bool:
    return entry.name not in TEST_SUITES and (entry / "__init__.py").is_file()


def _with_subpackages(directory: Path, name: str) -> Iterator[str]:
    yield name
    for entry in sorted(directory.iterdir()):
        if _is_package(entry):
            yield from _with_subpackages(entry, f"{name}.{entry.name}")


def _files(root: Path, package: str) -> list[Path]:
    place = root.joinpath(*package.split("."))
    if place.is_dir():
        return sorted(place.glob("*.py"))
    module = place.with_suffix(".py")
    if not module.is_file():
        raise FileNotFoundError(f"the standard library in {root} has no package or module {package!r}")
    return [module]


def _parse(source: bytes) -> ast.Module | None:
    # The warning filters belong to the whole process, and old code in the library warns about its escapes.
    with _parsing, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError):
            return None


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function with its qualified name, outer before inner."""
    todo: list[tuple[str, ast.AST]] = [("", tree)]
    while todo:
        prefix, node = todo.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield prefix + child.name, child
                todo.append((f"{prefix}{child.name}.", child))
            elif isinstance(child, ast.ClassDef):
                todo.append((f"{prefix}{child.name}.", child))
            elif isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
                # Functions are statements: expressions, most of the tree, hold none.
                todo.append((prefix, child))
