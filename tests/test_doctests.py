"""The examples in the docstrings of qjax give what they say.

An example may use what `qjax.quantum` exports, what its module knows, and jax, jnp and np. Examples are read from the
source, because `doctest`'s finder passes over functions that a decorator has wrapped.
"""

import ast
import doctest
import importlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import qjax.quantum

PACKAGE = Path(qjax.quantum.__file__).parents[1]
FILES = sorted(path for path in PACKAGE.rglob("*.py") if ">>> " in path.read_text(encoding="utf-8"))


def find_examples(path: Path) -> list[doctest.DocTest]:
    """Returns the examples of each docstring of a file, each with names of its own."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    module = importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    names = {"jax": jax, "jnp": jnp, "np": np, **vars(qjax.quantum), **vars(module)}
    parser, found = doctest.DocTestParser(), []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            continue
        text = ast.get_docstring(node, clean=True)
        name = getattr(node, "name", "module")
        line = 0 if isinstance(node, ast.Module) else node.lineno
        example = parser.get_doctest(text or "", dict(names), f"{path.stem}.{name}", str(path), line)
        if example.examples:
            found.append(example)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_examples(path: Path) -> None:
    reports: list[str] = []
    for example in find_examples(path):
        doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example, out=reports.append)
    assert not reports, "\n".join(reports)


def test_examples_are_found() -> None:
    """As many as there are prompts in the sources: none is skipped for the way in which it is written."""
    for path in FILES:
        prompts = sum(line.lstrip().startswith(">>> ") for line in path.read_text(encoding="utf-8").splitlines())
        assert sum(len(example.examples) for example in find_examples(path)) == prompts, path.name
