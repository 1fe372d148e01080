"""The engine's packages import in one direction: what is below knows nothing of what is above."""

import ast
import graphlib
import re
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


def packages():
    """{package: packages of the engine that it imports}."""
    graph = {}
    for path in ENGINE.rglob('*.py'):
        name = path.relative_to(ENGINE).parts[0].removesuffix('.py')
        if name != 'tests':
            graph.setdefault(name, set()).update(set(imported(path)) - {name})
    return graph


def test_packages_import_in_one_direction():
    graph = packages()
    assert 'imaging' in graph['training'], 'imports are not seen: the test is blind'
    list(graphlib.TopologicalSorter(graph).static_order())


def test_imaging_takes_arrays_and_knows_no_command():
    assert not packages()['imaging'] & {'settings', 'job', 'run_folder', 'commands'}


def drawn():
    """{package: line of the drawing in docs/architecture.rst, counted from above}."""
    page = ENGINE.parents[1] / 'docs' / 'architecture.rst'
    lines = iter(page.read_text(encoding='utf-8').splitlines())
    for line in lines:
        if line.strip().startswith('-----') and 'STAR' in line:
            break
    found = {}
    for number, line in enumerate(lines):
        if not line.strip():
            return found
        # What stands after the names is their explanation.
        found |= dict.fromkeys(re.split(r'\s{3,}', line.strip())[0].split(), number)


def test_the_drawing_of_the_architecture_is_true():
    lines, graph = drawn(), packages()
    known = {p.stem for p in ENGINE.iterdir() if p.suffix == '.py' or (p.is_dir() and any(p.glob('*.py')))}
    assert set(lines) == known - {'__init__', '__main__', 'tests'}
    upward = {
        f'{name} imports {other}'
        for name, others in graph.items()
        for other in others - {'__init__', '__main__'}
        if name in lines and lines[other] <= lines[name]
    }
    assert not upward


def test_no_file_is_longer_than_300_lines():
    root = ENGINE.parents[1]
    long = {
        str(path.relative_to(root)): count
        for folder in ('cryoemgan', 'benchmarks', 'docs')
        for path in (root / folder).rglob('*.py')
        if (count := len(path.read_text(encoding='utf-8').splitlines())) > 300
    }
    assert not long
