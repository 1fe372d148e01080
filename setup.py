"""Scipion plugin: denoising and sorting of cryo-EM particles, with a statement of how far they can be trusted."""

import re
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
# Read, not imported: the isolated build environment has neither Scipion nor torch.
version = re.search(r"^__version__ = '([^']+)'", (here / 'cryoemgan/__init__.py').read_text(), re.M).group(1)

ENGINE = [
    'torch>=2.4',
    'lightning-fabric>=2.4',
    'safetensors>=0.4',
    'numpy>=1.26,<2',
    'scipy',
    'mrcfile>=1.4',
    'gemmi>=0.7',
    'scikit-image>=0.22',
    'scikit-learn>=1.3',
    'matplotlib>=3.8',
    'tqdm',
    'torch-ctf>=0.6',
    'jinja2>=3.1',
]
SCIPION = ['scipion-pyworkflow>=3.11.7', 'scipion-em>=3.11.1']
DOCS = ['sphinx', 'numpydoc']
TEST = [
    'pytest', 'pytest-xdist', 'filelock', 'hypothesis', 'ruff', 'mypy', 'mpmath', 'pyxmipp3==0.4.0',
    'scipion-em-relion==5.0.2',
    # Templates are filled in by its windows; its own range of outdated takes one that needs more.
    'scipion-app==3.8.3', 'outdated==0.2.2',
]  # fmt: skip

setup(
    name='scipion-em-cryoemgan',
    version=version,
    description=__doc__,
    long_description=(here / 'README.rst').read_text(),
    long_description_content_type='text/x-rst',
    license='GPL-3.0-or-later',
    python_requires='>=3.10',
    packages=find_packages(include=['cryoemgan', 'cryoemgan.*']),
    install_requires=ENGINE,
    # Scipion itself is there before any plugin; the engine's own environment must not pull it in.
    extras_require={'scipion': SCIPION, 'test': SCIPION + TEST + DOCS, 'docs': DOCS},
    entry_points={
        'pyworkflow.plugin': 'cryoemgan = cryoemgan',
        'console_scripts': 'cryoemgan = cryoemgan.engine.__main__:main',
    },
    package_data={
        'cryoemgan': ['protocols.conf', '*.png', 'templates/*', 'engine/presets/*.json', 'figures/templates/*']
    },
    keywords='scipion cryoem imageprocessing scipion-3.0 denoising particle-selection wiener-filter GAN',
    classifiers=[
        'License :: OSI Approved :: GNU General Public License v3 or later (GPLv3+)',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering',
    ],
)
