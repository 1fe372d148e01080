"""The documentation: pages of this folder, and the engine's modules from their docstrings. ``make docs``."""

import pkgutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import cryoemgan.engine  # noqa: E402

project = 'scipion-em-cryoemgan'
author = 'The cryoemgan developers'
version = release = cryoemgan.__version__
extensions = ['sphinx.ext.autodoc', 'numpydoc']
exclude_patterns = ['_build']
html_theme = 'alabaster'
html_theme_options = {'description': 'Denoising of single particles', 'page_width': '1100px', 'sidebar_width': '240px'}
# `n` in a docstring is a number of particles, not the name of something to link to.
default_role = 'code'
autodoc_default_options = {'members': True, 'member-order': 'bysource'}
autodoc_typehints_format = 'short'
numpydoc_show_class_members = False
# Settings are known by the name of their module and by that of the package: either page will do.
suppress_warnings = ['ref.python']


def write_api_pages():
    """One page a package or module of the engine, in docs/api: what lies there is new with every build."""
    folder = HERE / 'api'
    folder.mkdir(exist_ok=True)
    pages = {}
    for module in pkgutil.iter_modules(cryoemgan.engine.__path__, 'cryoemgan.engine.'):
        name = module.name.removeprefix('cryoemgan.engine.')
        if name not in ('__main__', 'tests'):
            pages[name] = [module.name, *_below(module)]
    for name, modules in pages.items():
        parts = [f'{name}\n{"=" * len(name)}\n']
        for module in modules:
            title = module.removeprefix('cryoemgan.engine.')
            parts.append(f'{title}\n{"-" * len(title)}\n\n.. automodule:: {module}\n')
        text = '\n'.join(parts)
        path = folder / f'{name}.rst'
        if not path.exists() or path.read_text(encoding='utf-8') != text:
            path.write_text(text, encoding='utf-8')
    for path in folder.glob('*.rst'):
        if path.stem not in pages:
            path.unlink()


def _below(module):
    if not module.ispkg:
        return []
    path = [str(Path(module.module_finder.path) / module.name.rsplit('.', 1)[1])]
    return [m.name for m in pkgutil.walk_packages(path, module.name + '.')]


def escape_bars(app, what, name, obj, options, lines):
    """|x| is an absolute value in docstrings, not a substitution."""
    lines[:] = [line if '``' in line else line.replace('|', '\\|') for line in lines]


def skip_imported(app, what, name, obj, skip, options):
    """What a module imports is documented where it is made."""
    return skip or not (getattr(obj, '__module__', None) or 'cryoemgan').startswith('cryoemgan')


def write_measured_pages():
    """One page a table of benchmarks/results, in docs/measured."""
    from benchmarks import report
    from benchmarks.sorting import page

    report.pages(HERE / 'measured')
    page.pages(HERE / 'measured')


def setup(app):
    """Called by sphinx."""
    write_api_pages()
    write_measured_pages()
    app.connect('autodoc-skip-member', skip_imported)
    app.connect('autodoc-process-docstring', escape_bars, priority=400)
