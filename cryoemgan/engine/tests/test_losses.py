"""Scoring rules against mpmath, closed forms and their own properties; the penalty; reconstruction."""

import math

import mpmath
import pytest
import torch

from cryoemgan.engine.training import losses

PAIRS = [
    (0, 0), (1, 1), (0.5, 0.5), (-0.5, -0.5), (-1, -1), (1, -1), (-1, 1), (0.5, -0.5), (0.1, -0.1), (0,
    1), (0.3, -1),
]  # fmt: skip

# t, alpha, beta: S1 and S0 relative to t = 1/2, and their slopes in z; 40-digit mpmath (method.md,
# section 1).
TABLE = [
    (0.01, 1, 1, -0.36505000, 0.12495000, 0.00980100, -0.00009900),
    (0.25, 1, 1, -0.15625000, 0.09375000, 0.14062500, -0.04687500),
    (0.01, 0.5, 0.5, -1.08573200, 0.28472949, 0.09850376, -0.00099499),
    (0.25, 0.5, 0.5, -0.32878669, 0.19481209, 0.32475953, -0.10825318),
    (0.90, 0.5, 0.5, 0.26364761, -0.66364761, 0.03, -0.27),
    (0.01, -0.5, -0.5, -17.89974874, 1.79899244, 9.94987437, -0.10050378),
    (0.01, -1, -1, -102.59511985, 5.58501884, 100.0, -1.01010101),
    (0.90, -1, -1, 3.08611347, -10.1972246, 1.11111111, -10.0),
    (0.90, 1, -1, 1.60943791, -6.39056209, 0.9, -8.1),
    (0.01, 0.5, -0.5, -1.37046148, 0.42853095, 0.09949874, -0.00100504),
    (0.90, 0.1, -0.1, 0.63922048, -1.81808891, 0.12457309, -1.12115785),
]


def logit(t):
    return torch.tensor(math.log(t / (1 - t)), dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize('row', TABLE)
def test_reference_table(row):
    t, alpha, beta, *expected = row
    rule, z = losses.ScoringRule(alpha, beta), logit(t)
    values = rule.real(z), rule.fake(z)
    slopes = [torch.autograd.grad(v, z)[0] for v in values]
    for got, wanted in zip([*values, *slopes], expected):
        # The table has eight decimals; where its numbers are large, eight or nine figures.
        assert got.item() == pytest.approx(wanted, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize(('alpha', 'beta'), [p for p in PAIRS if min(p) > -1])
@pytest.mark.parametrize('t', [0.003, 0.2, 0.5, 0.97])
def test_equals_hypergeometric_form(alpha, beta, t):
    def s1(x):
        b = beta + 1
        return -((1 - x) ** b) / b * mpmath.hyp2f1(b, 1 - alpha, b + 1, 1 - x)

    def s0(x):
        a = alpha + 1
        return -(x**a) / a * mpmath.hyp2f1(a, 1 - beta, a + 1, x)

    rule, z = losses.ScoringRule(alpha, beta), logit(t)
    t = mpmath.mpf(1) / (1 + mpmath.exp(-z.item()))
    half = mpmath.mpf('0.5')
    assert rule.real(z).item() == pytest.approx(float(s1(t) - s1(half)), rel=1e-12, abs=1e-14)
    assert rule.fake(z).item() == pytest.approx(float(s0(t) - s0(half)), rel=1e-12, abs=1e-14)


CLOSED = {
    (-0.5, -0.5): (lambda z: -2 * torch.exp(-z / 2) + 2, lambda z: -2 * torch.exp(z / 2) + 2),
    (1, -1): (
        lambda z: torch.nn.functional.softplus(z) - math.log(2),
        lambda z: -(torch.exp(z) - torch.nn.functional.softplus(z)) + 1 - math.log(2),
    ),
    (-1, -1): (lambda z: z - torch.exp(-z) + 1, lambda z: -z - torch.exp(z) + 1),
    (0.5, -0.5): (
        lambda z: -2 * torch.atan(torch.exp(-z / 2)) + math.pi / 2,
        lambda z: -2 * (torch.exp(z / 2) - torch.atan(torch.exp(z / 2))) + 2 - math.pi / 2,
    ),
}


@pytest.mark.parametrize('pair', CLOSED)
def test_closed_forms(pair):
    z = torch.linspace(-9.5, 9.5, 39, dtype=torch.float64)
    rule = losses.ScoringRule(*pair)
    for got, form in zip((rule.real(z), rule.fake(z)), CLOSED[pair]):
        torch.testing.assert_close(got, form(z), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(('p', 'q'), [(0, 1), (1, 2)])
def test_shortcuts_equal_the_quadrature(p, q):
    z = torch.linspace(-20, 20, 41, dtype=torch.float64)
    quadrature = losses._integral(z, p, q, *losses.EXPONENTIAL[torch.float64])
    torch.testing.assert_close(losses.score(z, p, q), quadrature, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(('alpha', 'beta'), PAIRS)
def test_proper(alpha, beta):
    """Whoever believes t = p scores best when p is the truth."""
    z = torch.linspace(-6, 6, 24001, dtype=torch.float64)
    rule = losses.ScoringRule(alpha, beta)
    real, fake = rule.real(z), rule.fake(z)
    for p in (0.05, 0.3, 0.5, 0.8):
        best = torch.sigmoid(z[torch.argmax(p * real + (1 - p) * fake)]).item()
        assert best == pytest.approx(p, abs=2e-4)


@pytest.mark.parametrize(('alpha', 'beta'), PAIRS)
def test_derivatives_of_both_orders(alpha, beta):
    z = torch.tensor([-7.0, -1.3, 0.0, 0.4, 6.0], dtype=torch.float64, requires_grad=True)
    rule = losses.ScoringRule(alpha, beta)
    for function in (rule.real, rule.fake):
        assert torch.autograd.gradcheck(function, z)
        assert torch.autograd.gradgradcheck(function, z)


@pytest.mark.parametrize(('alpha', 'beta'), PAIRS)
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_finite_at_confident_scores_and_zero_at_zero(alpha, beta, dtype):
    z = torch.tensor([-80.0, -15.0, 0.0, 15.0, 80.0], dtype=dtype, requires_grad=True)
    rule = losses.ScoringRule(alpha, beta)
    with torch.autocast('cpu', torch.bfloat16):
        for value, sign in ((rule.real(z), 1), (rule.fake(z), -1)):
            assert value.dtype == torch.float32
            assert value[2] == 0
            (slope,) = torch.autograd.grad(value.sum(), z)
            assert torch.isfinite(value).all()
            assert torch.isfinite(slope).all()
            assert (sign * slope >= 0).all()
            assert (slope.abs() <= math.exp(losses.LOG_SLOPE_LIMIT) * 1.01).all()


def test_beyond_the_limit_the_rule_is_a_line_that_still_teaches():
    z = torch.tensor([-10.0, -12.0, -30.0], dtype=torch.float64, requires_grad=True)
    value = losses.ScoringRule(-1, -1).real(z)
    (slope,) = torch.autograd.grad(value.sum(), z)
    torch.testing.assert_close(slope, torch.full_like(slope, math.exp(10) + 1), rtol=1e-4, atol=0)
    torch.testing.assert_close((value[0] - value[1:]) / (z[0] - z[1:]), slope[1:], rtol=1e-4, atol=0)


@pytest.mark.parametrize(('alpha', 'beta'), PAIRS)
def test_single_precision_is_the_rounded_double(alpha, beta):
    """Also where the sigmoid has become an exponential, on both sides, and 10 times further."""
    z = torch.cat([torch.linspace(-25, 25, 401), torch.tensor([-400.0, -60.0, 60.0, 400.0])])
    rule = losses.ScoringRule(alpha, beta)
    for function in (rule.real, rule.fake):
        exact = function(z.double())
        torch.testing.assert_close(function(z).double(), exact, rtol=3e-7, atol=3e-7)
        # Monotonic, without a step where one formula takes over from the other.
        fine = torch.linspace(-40, 40, 8001, dtype=torch.float64)
        slopes = function(fine).diff() / fine.diff()
        middle = (fine[1:] + fine[:-1]) / 2
        middle.requires_grad_()
        (wanted,) = torch.autograd.grad(function(middle).sum(), middle)
        torch.testing.assert_close(slopes, wanted, rtol=1e-4, atol=1e-9)


def test_parameters_out_of_range():
    with pytest.raises(ValueError, match='must be in'):
        losses.ScoringRule(1.2, 0)


class Linear(torch.nn.Module):
    """Critic whose gradient is known: the same ``slope`` at every pixel, in two equal patches."""

    def __init__(self, slope):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor(float(slope)))

    def forward(self, x):
        return (self.slope * x.sum((1, 2, 3)))[:, None, None, None].expand(-1, 1, 1, 2)


@pytest.mark.parametrize('patches', ['mean', 'sum'])
def test_penalty_of_a_known_critic(patches):
    x, y, pixels = torch.rand(3, 1, 8, 8), torch.rand(3, 1, 8, 8), 64
    slope = 0.4
    norm = slope * math.sqrt(pixels) * (2 if patches == 'sum' else 1)
    share = torch.rand(3, 1, 1, 1)
    literal = losses.slope_penalty(Linear(slope), x, y, share, patches)
    assert literal.item() == pytest.approx((norm - 1) ** 2, rel=1e-5)
    scaled = losses.slope_penalty(Linear(slope / 8), x, y, share, patches, critic_scale='box')
    assert scaled.item() == pytest.approx((norm - 1) ** 2, rel=1e-5)


def test_penalty_pulls_the_slope_to_one_and_spares_the_generator():
    for slope, wanted in ((0.05, -1), (0.5, 1)):
        critic, denoised = Linear(slope), torch.rand(3, 1, 8, 8, requires_grad=True)
        losses.slope_penalty(critic, torch.rand(3, 1, 8, 8), denoised * 1.0, torch.rand(3, 1, 1, 1)).backward()
        # Descent raises a slope (norm 0.4) below one and lowers one (norm 4) above.
        assert math.copysign(1, critic.slope.grad.item()) == wanted
        assert denoised.grad is None


def test_penalty_is_taken_between_the_images():
    seen = []

    def critic(x):
        seen.append(x.detach())
        return x.mean((1, 2, 3), keepdim=True)

    share = torch.tensor([0.0, 0.25, 1.0])[:, None, None, None]
    losses.slope_penalty(critic, torch.ones(3, 1, 2, 2), torch.zeros(3, 1, 2, 2), share)
    assert torch.equal(seen[0], share.expand(3, 1, 2, 2))


def test_adversaries_by_name_and_their_losses():
    assert losses.adversary('none') is None
    real, fake = torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[[[-2.0, 6.0]]]])
    critic = losses.adversary('wgan-gp')
    assert losses.mean_score(critic.real(real)) == 2
    assert losses.mean_score(critic.fake(fake), 'sum') == -4
    rule = losses.adversary('beta', 0, 0)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    expected = entropy(real, torch.ones_like(real)) + entropy(fake, torch.zeros_like(fake)) - 2 * math.log(2)
    scores = losses.mean_score(rule.real(real)), losses.mean_score(rule.fake(fake))
    found = losses.discriminator_loss(*scores, torch.zeros(()), 10.0)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_losses_weigh_their_terms():
    """Algorithm 1: D ascends its scores and descends the penalty; G descends D's score of it and the distance."""
    real, fake, penalty, distance = (torch.tensor(v) for v in (2.0, -3.0, 0.5, 0.25))
    assert losses.discriminator_loss(real, fake, penalty, gradient_penalty=10.0) == -(2 - 3) + 5
    assert losses.generator_loss(fake, distance, reconstruction_weight=8.0) == -3 + 2
    assert losses.generator_loss(torch.zeros(()), distance, reconstruction_weight=0.0) == 0


@pytest.mark.parametrize(('p', 'expected'), [(1, 2.0), (2, 5.0)])
def test_reconstruction_is_a_mean_over_pixels(p, expected):
    x = torch.zeros(1, 1, 1, 2, dtype=torch.bfloat16)
    value = losses.reconstruction(x, torch.tensor([[[[1.0, -3.0]]]]), p)
    assert value.dtype == torch.float32
    assert value.item() == expected


@pytest.mark.parametrize('p', [1, 2])
def test_reconstruction_of_counted_pixels_only(p):
    rng = torch.Generator().manual_seed(3)
    denoised, references = torch.randn(2, 4, 1, 6, 6, generator=rng)
    mask = torch.rand(4, 1, 6, 6, generator=rng) < 0.5
    found = losses.reconstruction(denoised, references, p, mask)
    torch.testing.assert_close(found, (denoised - references)[mask].abs().pow(p).mean())
    # A pixel that is not counted leaves no trace.
    changed = torch.where(mask, denoised, 99.0)
    torch.testing.assert_close(losses.reconstruction(changed, references, p, mask), found)
