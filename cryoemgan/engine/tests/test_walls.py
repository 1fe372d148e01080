"""The engine's packages import in one direction: what is below knows nothing of what is above."""

import ast
import graphlib
from pathlib import Path

ENGINE = Path(__file__).parents[1]


def imported(path):
    """Packages (or modules beside them) of the engine that a file imports."""
    inside = path.relative_to(ENGINE).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and 0 < node.level <= len(inside) + 1:
            base = [*inside[: len(inside) + 1 - node.level], *(node.module or '').split('.')]
            base = [part for part in base if part]
            yield from {base[0]} if base else {alias.name for alias in node.names}


def test_packages_import_in_one_direction():
    graph = {}
    for path in ENGINE.rglob('*.py'):
        name = path.relative_to(ENGINE).parts[0].removesuffix('.py')
        if name != 'tests':
            graph.setdefault(name, set()).update(set(imported(path)) - {name})
    assert 'imaging' in graph['training'], 'imports are not seen: the test is blind'
    list(graphlib.TopologicalSorter(graph).static_order())
