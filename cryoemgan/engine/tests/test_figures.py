"""Figures: what they show, and that they need neither torch nor Scipion nor a display."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from cryoemgan import figures
from cryoemgan.engine.data.stack_writer import StackWriter
from cryoemgan.engine.data.table import ParticleTable
from cryoemgan.figures import audit


def write_set(folder, name, images, originals=None):
    with StackWriter(folder / f'{name}.mrcs', len(images), images.shape[-1], 2.0) as writer:
        writer.append(images)
    columns = {'rlnImageName': [f'{i + 1}@{name}.mrcs' for i in range(len(images))]}
    if originals:
        columns['rlnImageOriginalName'] = originals
    ParticleTable.create(folder / f'{name}.star', columns).write(folder / f'{name}.star')
    return folder / f'{name}.star'


@pytest.fixture
def sets(tmp_path):
    """Seven constant-gradient particles and five of them, in another order, brighter."""
    ramp = np.linspace(0, 1, 20, dtype=np.float32) * np.ones((7, 20, 1), np.float32)
    noisy = ramp * np.arange(1, 8, dtype=np.float32)[:, None, None]
    rows = [4, 0, 6, 2, 3]
    return {
        'noisy': write_set(tmp_path, 'noisy', noisy),
        'denoised': write_set(tmp_path, 'denoised', noisy[rows] + 100, [f'{r + 1}@noisy.mrcs' for r in rows]),
    }


def texts(figure):
    return [t.get_text() for axes in figure.axes for t in axes.texts]


def test_gallery_pairs_by_identity_and_pages(sets):
    gallery = figures.Gallery(sets, per_page=2)
    assert (len(gallery), gallery.pages) == (5, 3)
    shown = gallery.page(2).axes[0].images
    arrays = [np.asarray(i.get_array()) for i in shown]
    assert [a.max() for a in arrays] == [4, 104, 5, 105]
    assert len(gallery.page(3).axes[0].images) == 2
    for number in (0, 4):
        with pytest.raises(ValueError, match='of 3'):
            gallery.page(number)


def test_gallery_contrast_and_labels(sets, tmp_path):
    (tmp_path / 'metrics.csv').write_text('particle,method,ncc\n1@noisy.mrcs,denoised,0.876\n')
    own = figures.Gallery(sets, metrics=tmp_path / 'metrics.csv').page(1)
    assert {'noisy', 'denoised', '#1  ', 'NCC 0.88'} <= set(texts(own))
    limits = {i.get_clim() for i in own.axes[0].images}
    assert len(limits) == 10
    shared = figures.Gallery(sets, contrast='shared').page(1)
    assert len({i.get_clim() for i in shared.axes[0].images}) == 1
    with pytest.raises(ValueError, match='neither own nor shared'):
        figures.Gallery(sets, contrast='any')


def test_training_curves_of_a_file_that_is_still_written(tmp_path):
    path = tmp_path / 'metrics.csv'
    path.write_text(
        'iteration,reconstruction,score_real,penalty,mse,psnr,learning_rate_generator\n'
        '100,0.5,0.1,,,,1\n200,0.4,0.1,,0.30,10,1\n300,0.3,0.2,,0.10,15,1\n400,0.3,0.2,,0.20,12,1\n500,0.5,0.'
    )
    figure = figures.training_curves(path)
    panels = {axes.get_title(): axes for axes in figure.axes if axes.get_visible()}
    assert set(panels) == {'Reconstruction', 'Validation error', 'Validation PSNR', 'Adversary', 'Learning rates'}
    error = panels['Validation error']
    line = max(error.lines, key=lambda x: len(x.get_xdata()))
    assert list(line.get_xdata()) == [200, 300, 400]
    assert error.get_legend().get_texts()[0].get_text() == 'mse (best 0.1 at 300)'
    # A column without a number is not in the legend.
    assert [t.get_text() for t in panels['Adversary'].get_legend().get_texts()] == ['score real']
    assert error.get_xlabel() == 'iteration'


@pytest.mark.parametrize(
    'text',
    ['', 'iteration,train_loss\n', 'iteration,train_loss\n10', 'member,iteration,mse\nhalf1,1,0.2\nhalf2,1,0.3\n'],
)
def test_no_empty_panels_before_there_is_a_curve(tmp_path, text):
    (tmp_path / 'metrics.csv').write_text(text)
    figure = figures.training_curves(tmp_path / 'metrics.csv')
    assert f'{text.count("half1")} evaluation' in figure.texts[0].get_text()
    assert not figure.axes


def test_frc_axes_have_units_and_end_at_nyquist(tmp_path):
    rows = [f'{m},{r},{r / 80},{max(0, 1 - r / s)},0.1,9' for m, s in (('a', 10), ('b', 30)) for r in range(21)]
    (tmp_path / 'frc.csv').write_text('method,ring,frequency,frc,sd,fourier_pixels\n' + '\n'.join(rows))
    axes, top = figures.frc_curves(tmp_path / 'frc.csv').axes
    assert axes.get_xlabel() == 'spatial frequency (1/Å)'
    assert axes.get_xlim() == pytest.approx((0, 0.25))
    assert top.get_xticklabels()[-1].get_text() == '4.0'
    curves = {line.get_label(): line for line in axes.lines}
    assert curves['a'].get_ydata()[0] == pytest.approx(0.9)
    assert curves['a'].get_linestyle() != curves['b'].get_linestyle()


def test_distributions_mark_medians(tmp_path):
    names = 'mse,psnr,ssim,ncc,mse_affine,psnr_affine,ssim_affine,ncc_affine,gain,offset'
    rows = [f'{i},{m},' + ','.join([str(i * s)] * 10) for m, s in (('a', 1), ('b', 2)) for i in range(1, 10)]
    (tmp_path / 'metrics.csv').write_text(f'particle,method,{names}\n' + '\n'.join(rows))
    figure = figures.distributions(tmp_path / 'metrics.csv')
    assert len(figure.axes) == 8
    medians = [line.get_xdata()[0] for line in figure.axes[1].lines]
    assert medians == [5, 10]


def test_saved_without_display_torch_or_scipion(sets, tmp_path):
    code = (
        f'import sys; from cryoemgan import figures\n'
        f'g = figures.Gallery({ {k: str(v) for k, v in sets.items()}!r})\n'
        f'figures.save(g.page(1), {str(tmp_path / "g.png")!r})\n'
        'loaded = {m.split(".")[0] for m in sys.modules}\n'
        'assert not loaded & {"torch", "pyworkflow", "pwem", "sklearn", "tkinter"}, loaded\n'
        'assert "matplotlib.pyplot" not in sys.modules'
    )
    subprocess.run([sys.executable, '-c', code], check=True, env={'PYTHONPATH': ':'.join(p for p in sys.path if p)})
    with Image.open(tmp_path / 'g.png') as image:
        assert image.size[0] > 400
        assert np.asarray(image.convert('L')).std() > 10
    assert not list(tmp_path.glob('*.partial'))


def shown(page):
    """What the script of a gallery page holds."""
    return json.loads(re.search(r'const g = (\{.*?\}), root', page.read_text(), re.S)[1])


def test_gallery_page_shows_the_worst_and_their_scores(tmp_path):
    count = 60
    images = np.random.default_rng(0).normal(size=(count, 16, 16)).astype(np.float32)
    path = write_set(tmp_path, 'denoised', images)
    table = ParticleTable.read(path)
    uncertainty = np.linspace(0.2, 0.9, count)[np.random.default_rng(1).permutation(count)]
    table.set('cryoemganUncertainty', uncertainty)
    table.write(path)
    worst = int(uncertainty.argmax())
    names = table.names()
    figures.gallery_page(
        tmp_path / 'gallery.html', 'A <set>', 'words & more', {'denoised': path}, most=20, marks={'bad': {names[worst]}}
    )
    found = shown(tmp_path / 'gallery.html')
    values = found['scores'][0]['values']
    assert len(values) == 20
    assert max(values) == pytest.approx(uncertainty.max(), rel=1e-3)
    assert found['marked'][int(np.argmax(values))] == 'bad'
    assert [found['labels'][int(np.argmax(values))]] == [str(worst + 1)]
    page = (tmp_path / 'gallery.html').read_text()
    assert 'A &lt;set&gt;' in page
    assert 'http' not in page.replace('http-equiv', '')


def test_marked_particles_are_told_in_a_gallery(sets):
    """Matched by name, in whatever order the sets have; in a window and in the pictures of it."""
    rejected = {ParticleTable.read(sets['noisy']).names()[4]}
    gallery = figures.Gallery(sets, marks={'rejected': rejected})
    assert gallery._captions(np.arange(len(gallery))) == ['#1', '#3', '#4', '#5  rejected', '#7']
    assert gallery.page_image(1).size[0] > 100


def test_gallery_page_without_scores_speaks_of_none(tmp_path):
    images = np.random.default_rng(0).normal(size=(30, 16, 16)).astype(np.float32)
    path = write_set(tmp_path, 'noisy', images)
    figures.gallery_page(tmp_path / 'gallery.html', 'A set', 'words', {'noisy': path}, most=20)
    page = ' '.join((tmp_path / 'gallery.html').read_text().split())
    assert '20 of 30 particles are shown, spread over the set. Each' in page
    assert 'worst' not in page.split('<script>')[0]


@pytest.mark.parametrize('junk', [[9.0, 999.0], [999.0] * 20])
def test_histogram_hides_no_particle(tmp_path, junk):
    """What lies far out is counted in the end bars, and said, even if it is a tenth; the others fill the picture."""
    path = write_set(tmp_path, 'denoised', np.zeros((200, 8, 8), np.float32))
    table = ParticleTable.read(path)
    table.set('cryoemganUncertainty', np.r_[np.linspace(0.4, 0.6, 200 - len(junk)), junk])
    table.write(path)
    figure = figures.column_distribution(path, 'cryoemganUncertainty', 'expected error')
    said = ' '.join(t.get_text() for t in figure.axes[0].texts)
    assert f'{len(junk)} above' in said
    assert figure.axes[0].get_xlim()[1] < 4
    assert '999' in said


def test_curves_shade_the_part_with_weaker_noise(tmp_path):
    """Half of ten evaluations with noise below full strength; no panel for an adversary that is not there."""
    rows = [f'half1,{10 * k},{0.1 * k},0,{min(1, 0.2 * k)},{1 / k},{1 / k}' for k in range(1, 11)]
    names = 'member,iteration,reconstruction,adversary,noise_level,learning_rate_discriminator,mse'
    (tmp_path / 'metrics.csv').write_text('\n'.join([names, *rows, '']))
    figure = figures.training_curves(tmp_path / 'metrics.csv')
    assert [a.get_title() for a in figure.axes if a.get_visible()] == ['Reconstruction', 'Validation error']
    shaded = figure.axes[0].patches[0].get_extents()
    left, right = figure.axes[0].transData.inverted().transform([(shaded.x0, 0), (shaded.x1, 0)])[:, 0]
    assert (left, right) == (pytest.approx(0, abs=1e-6), pytest.approx(50))
    assert not figure.axes[1].patches


def test_a_learning_rate_begins_with_the_first_step(tmp_path):
    """Before it, the rate is that of no step, and would be a peak before the warm-up."""
    rows = [f'half1,{k},0.3,{rate}' for k, rate in ((0, 5), (2, 1), (4, 3))]
    (tmp_path / 'metrics.csv').write_text('\n'.join(['member,iteration,mse,learning_rate_generator', *rows, '']))
    rates = figures.training_curves(tmp_path / 'metrics.csv').axes[1].lines[0].get_ydata()
    assert np.nanmax(rates) == 3


def test_an_error_that_is_the_same_everywhere_does_not_look_large():
    """Its colour is what it is beside the contrast of the denoised image, in all lines."""
    denoised = np.random.default_rng(2).normal(0, [[[2.0]], [[10.0]]], (2, 16, 16))
    errors = 0.5 * np.broadcast_to(denoised.std((1, 2), keepdims=True), denoised.shape)
    figure = audit.strips({'denoised': denoised, 'expected error': errors}, range(2))
    for axes in figure.axes[1::2]:
        picture = axes.images[0]
        np.testing.assert_allclose(picture.norm(picture.get_array()), 0.5, rtol=1e-5)


def test_powers_of_ten_are_plain_numbers():
    """A picture has no formulas: their source would stand at its axes."""
    density = np.random.default_rng(1).random((8, 8, 8))
    probability = np.concatenate([np.zeros(2000), np.linspace(0, 1, 300)])
    for figure in (
        figures.other_state(density, density - 0.5, probability),
        audit.bias(np.arange(1, 9) / 40, np.geomspace(1, 1000, 8), np.ones(8), np.zeros(8)),
    ):
        figure.canvas.draw()
        ticks = [t.get_text() for axes in figure.axes for t in (*axes.get_xticklabels(), *axes.get_yticklabels())]
        assert '100' in ticks
        assert not any('$' in text for text in ticks)
