"""Self-contained HTML pages: every picture is in the file, nothing is fetched from anywhere."""

import base64
import io
from pathlib import Path

import jinja2

from ..engine.files import atomic
from .audit import LIGHTS

TEMPLATES = Path(__file__).parent / 'templates'


def write_page(path, template, **content):
    """Fill a template of ``figures/templates`` and write it; text is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    page = environment.get_template(template).render(light_colours=LIGHTS, **content)
    with atomic(path) as partial:
        partial.write_text(page, encoding='utf-8')


def embedded(figure, dpi=110):
    """A figure as the address of an image that is in the page itself."""
    file = io.BytesIO()
    figure.savefig(file, format='png', dpi=dpi)
    return data_address(file.getvalue(), 'png')


def data_address(content, kind):
    """Bytes of a picture as the address of an image; kind: png or jpeg."""
    return f'data:image/{kind};base64,{base64.b64encode(content).decode()}'
