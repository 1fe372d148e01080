"""Every network: parameter counts, any even box, images that do not see each other, growing."""

import pytest
import torch

from cryoemgan.engine import networks
from cryoemgan.engine.errors import InputError
from cryoemgan.engine.settings.networks import DEFAULT_NETWORK, NETWORKS
from cryoemgan.engine.training.step import statistics_of

pytestmark = pytest.mark.usefixtures('one_thread')

# From the authors' scripts; plain: 5.51 and 2.76 million in the paper's appendix.
COUNTS = {
    'paper128': (4_195_843, 2_803_393),
    'paper256': (78_840_579, 20_693_441),
    'plain': (5_511_299, 2_762_689),
}
# The others work on components of the training images, at one box: see test_steerable.
IMAGE_NETWORKS = [n for n in NETWORKS if n != 'equivariant']


def tiny(name, box=64):
    torch.manual_seed(0)
    return networks.create(name, box, width=4)


def test_names_without_torch_are_the_registered_ones():
    assert sorted(networks.names()) == sorted(NETWORKS)
    assert DEFAULT_NETWORK in NETWORKS


@pytest.mark.parametrize('name', COUNTS)
def test_parameter_counts_of_the_paper(name):
    pair = networks.outline(name, 128)
    assert tuple(map(networks.parameter_count, (pair.generator, pair.discriminator))) == COUNTS[name]


def test_default_is_small():
    pair = networks.outline(DEFAULT_NETWORK, 128)
    assert 1.4e6 < networks.parameter_count(pair.generator) < 2.5e6
    assert networks.parameter_count(pair.discriminator) < 4e5


@pytest.mark.parametrize(('name', 'box', 'patches'), [('paper128', 128, 13), ('paper256', 256, 26), ('plain', 128, 5)])
def test_patch_scores_of_the_paper(name, box, patches):
    scores = tiny(name, box).discriminator(torch.randn(2, 1, box, box))
    assert scores.shape == (2, 1, patches, patches)


@pytest.mark.parametrize('name', NETWORKS)
def test_training_changes_no_buffers_but_those_of_normalisation(name):
    """The running average follows these only."""
    pair, images = tiny(name), torch.randn(4, 1, 64, 64)
    pair.initialise(images, images)
    network = pair.generator.train()
    statistics = set(map(id, statistics_of(network)))
    before = {n: b.clone() for n, b in network.named_buffers()}
    network(images).square().mean().backward()
    changed = {n for n, b in network.named_buffers() if not torch.equal(b, before[n])}
    assert changed <= {n for n, b in network.named_buffers() if id(b) in statistics}


@pytest.mark.parametrize('name', NETWORKS)
@pytest.mark.parametrize('box', [32, 34, 50, 126, 128, 256])
def test_any_even_box(name, box):
    pair = tiny(name, box)
    image = torch.randn(2, 1, box, box)
    denoised = pair.generator(image)
    assert denoised.shape == image.shape
    scores = pair.discriminator(denoised)
    assert scores.ndim == 4
    assert scores.shape[:2] == (2, 1)
    assert scores.numel() >= 2
    scores.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in pair.generator.parameters() if p.grad is not None)


@pytest.mark.parametrize('name', IMAGE_NETWORKS)
def test_padding_is_reflection_and_keeps_the_origin(name):
    """A box that does not fit gives what the reflected image of a fitting box gives, cut out around N//2."""
    pair = tiny(name)
    pair.generator.eval()
    image = torch.randn(1, 1, 58, 58)
    larger = torch.nn.functional.pad(image, (3, 3, 3, 3), mode='reflect')
    with torch.no_grad():
        torch.testing.assert_close(pair.generator(image), pair.generator(larger)[..., 3:-3, 3:-3])


@pytest.mark.parametrize('name', NETWORKS)
def test_image_does_not_see_its_batch_mates(name):
    pair = tiny(name)
    for _ in range(2):
        pair.generator(torch.randn(4, 1, 64, 64))
    pair.generator.eval()
    images = torch.randn(5, 1, 64, 64)
    images[1:] *= 30
    with torch.no_grad():
        torch.testing.assert_close(pair.generator(images)[:1], pair.generator(images[:1]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(('name', 'options'), [('residual', {}), ('pggan', {}), ('plain', {}),
                                               ('paper128', {'norm_discriminator': 'group'}),
                                               ('paper256', {'norm_discriminator': 'group'})])  # fmt: skip
def test_scores_of_single_images_for_the_gradient_penalty(name, options):
    """In training mode: the gradient penalty is a statement about one image."""
    torch.manual_seed(0)
    discriminator = networks.create(name, 64, width=4, **options).discriminator
    images = torch.randn(3, 1, 64, 64)
    torch.testing.assert_close(discriminator(images)[:1], discriminator(images[:1]), rtol=1e-4, atol=1e-5)


def test_default_starts_at_the_level_of_the_references():
    pair = tiny(DEFAULT_NETWORK)
    noisy, clean = torch.randn(40, 1, 64, 64), 0.3 + 0.05 * torch.randn(40, 1, 64, 64)
    pair.initialise(noisy, clean)
    output = pair.generator(noisy)
    assert output.mean().item() == pytest.approx(0.3, abs=0.1)
    assert output.std().item() < 0.3


@pytest.mark.parametrize('name', IMAGE_NETWORKS)
def test_a_few_steps_reduce_the_loss(name):
    pair = tiny(name)
    optimiser = torch.optim.Adam(pair.generator.parameters(), 3e-3)
    grid = torch.linspace(-1, 1, 64)
    clean = torch.exp(-8 * (grid[:, None] ** 2 + grid**2)).expand(4, 1, 64, 64)
    noisy = clean + 0.3 * torch.randn(4, 1, 64, 64)
    losses = []
    for _ in range(15):
        loss = (pair.generator(noisy) - clean).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_growing():
    pair = tiny('pggan')
    image = torch.randn(2, 1, 64, 64)
    pair.generator.eval()
    before = None
    for stage in range(pair.stages):
        factor = 2 ** (pair.stages - 1 - stage)
        pair.set_stage(stage)
        now = pair.generator(image)
        coarse = now[..., ::factor, ::factor]
        torch.testing.assert_close(now, coarse.repeat_interleave(factor, -1).repeat_interleave(factor, -2))
        if stage:
            # Nothing jumps when a stage begins: with alpha 0 it is still the stage before.
            pair.set_stage(stage - 1)
            judged = pair.discriminator(now)
            pair.set_stage(stage, 0.0)
            torch.testing.assert_close(pair.generator(image), before)
            torch.testing.assert_close(pair.discriminator(now), judged)
        before = now


def test_stage_is_saved_with_the_weights():
    pair, other = tiny('pggan'), tiny('pggan')
    pair.set_stage(2, 0.25)
    other.generator.load_state_dict(pair.generator.state_dict())
    assert other.generator.network.stage() == (2, 0.25)
    with pytest.raises(ValueError, match='stage 5'):
        pair.set_stage(5)


@pytest.mark.parametrize(
    ('arguments', 'options', 'message'),
    [
        (('resnet', 64), {}, 'unknown network'),
        (('residual', 63), {}, 'even boxes'),
        (('residual', 16), {}, 'even boxes'),
        (('residual', 1024), {}, 'even boxes'),
        (('residual', 64.0), {}, 'even boxes'),
        (('residual', 64), {'depth': 3}, 'no option'),
        (('residual', 64), {'width': '3'}, 'should be like'),
        (('residual', 64), {'width': 10**9}, 'out of range'),
        (('paper128', 64), {'norm_discriminator': 'none'}, 'norm_discriminator'),
    ],
)
def test_wrong_requests(arguments, options, message):
    with pytest.raises(InputError, match=message):
        networks.create(*arguments, **options)


@pytest.mark.parametrize('name', ['paper128', 'paper256', 'plain'])
def test_first_images_have_the_references_mean_and_at_most_their_spread(name):
    """Else a network spends its first hundreds of steps on two numbers (measured: 10 CPU s of plain at 64 px ended at
    2.7e-2 without and at 4.6e-3 with it)."""
    torch.manual_seed(0)
    pair = networks.create(name, 64, width=8)
    noisy, clean = torch.randn(6, 1, 64, 64), 0.3 + 0.04 * torch.randn(6, 1, 64, 64)
    pair.initialise(noisy, clean)
    with torch.no_grad():
        images = pair.generator.train()(noisy)
    assert float(images.mean()) == pytest.approx(0.3, abs=0.02)
    assert float(images.std()) < 0.06


@pytest.mark.parametrize('name', networks.names())
def test_every_tensor_goes_to_the_device(name, monkeypatch):
    """On the meta device, which computes nothing but refuses to mix, as a GPU does: no machine here has one."""
    pair = networks.create(name, 64, width=4)
    if pair.stages > 1:
        # Its stage is read from a buffer, which holds no number there.
        for part in (pair.generator, pair.discriminator):
            found = part.network.stage()
            monkeypatch.setattr(part.network, 'stage', lambda found=found: found)
    images = torch.zeros(2, 4 if name == 'guided' else 1, 64, 64, device='meta')
    for training in (True, False):
        generator, discriminator = (p.train(training).to('meta') for p in (pair.generator, pair.discriminator))
        scores = discriminator(generator(images))
        assert scores.device.type == 'meta'
        scores.sum().backward()
