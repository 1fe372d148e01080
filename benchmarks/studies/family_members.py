"""What ``family.py`` trains: name -> (options of ``train``, what it is, its group). Order is the order of the table."""

# One training for every member that is not a preset, so that a row differs from the next in what its name says. It is
# written out here, because presets move on.
COMMON = dict(
    network='residual', gan='none', p=2, reconstruction_weight=10.0, gradient_penalty=10.0, critic_scale='box',
    generator_steps=1, discriminator_steps=1, learning_rate_generator=2e-3, learning_rate_discriminator=1e-3,
    adam_beta1=0.9, adam_beta2=0.999, batch_size=20, schedule='cosine', warmup=0.1, ema=0.998, clip=1.0, turns=True,
    shift=1, exchange_noise=0.0, fresh_fraction=0.0, noise_curriculum=0.0,
)  # fmt: skip
L1, L2 = dict(COMMON, p=1), COMMON
BETA, WGAN = dict(L1, gan='beta', generator_steps=2), dict(L1, gan='wgan-gp', generator_steps=2)
FULL_NOISE = dict(noise_curriculum=0.0, exchange_noise=0.0)
# Training with wrong references turns these off by itself.
WRONG = dict(contaminate='references', contaminate_fraction=0.3, no_leave_out_wrong=True)


def rule(alpha, beta):
    """Options of the (alpha, beta)-GAN + l1."""
    return dict(BETA, alpha=alpha, beta=beta)


HALF = rule(0.5, 0.5)
MEMBERS = {
    'recommended': ({}, 'the preset: `equivariant`, no adversary, l2', 'preset'),
    'paper': (dict(preset='paper'), 'the preset: `paper128`, (0.5,0.5) + l1, constant rates', 'preset'),
    'authors': (dict(preset='authors'), 'the preset: the same, patch scores summed, batch 10, no shuffling', 'preset'),
    'recommended x 0.25': (dict(cost=0.25), 'a quarter of the time', 'preset'),
    'paper x 5': (dict(preset='paper', cost=5), 'five times the time', 'preset'),
    'l2': (L2, 'no adversary', 'adversary'),
    'l1': (L1, 'no adversary', 'adversary'),
    '(1,1)': (rule(1.0, 1.0), '+ l1', 'adversary'),
    '(.5,.5)': (HALF, '+ l1', 'adversary'),
    '(-.5,-.5)': (rule(-0.5, -0.5), '+ l1', 'adversary'),
    '(-1,-1)': (rule(-1.0, -1.0), '+ l1', 'adversary'),
    '(1,-1)': (rule(1.0, -1.0), '+ l1', 'adversary'),
    '(.5,-.5)': (rule(0.5, -0.5), '+ l1', 'adversary'),
    '(0,0)': (rule(0.0, 0.0), '+ l1', 'adversary'),
    '(.1,-.1)': (rule(0.1, -0.1), '+ l1', 'adversary'),
    '(0,0) lambda 0': (dict(rule(0.0, 0.0), reconstruction_weight=0.0), 'Jensen-Shannon alone, no l1', 'adversary'),
    'wgan-gp box': (WGAN, '+ l1, scale-free critic, lambda 10', 'adversary'),
    'wgan-gp 10': (dict(WGAN, critic_scale='literal'), '+ l1, literal, lambda 10', 'adversary'),
    'wgan-gp 200': (dict(WGAN, critic_scale='literal', reconstruction_weight=200.0), '+ l1, literal, lambda 200',
                    'adversary'),
    'paper128': (dict(L2, network='paper128'), 'the paper, 128 px ResNet', 'network'),
    'paper256': (dict(L2, network='paper256'), 'the paper, 256 px ResNet', 'network'),
    'plain': (dict(L2, network='plain'), 'appendix 5.3', 'network'),
    'pggan': (dict(L2, network='pggan'), 'appendix 5.4, l2 alone', 'network'),
    'pggan wgan-gp': (dict(WGAN, network='pggan'), 'appendix 5.4, + l1, scale-free critic', 'network'),
    'pggan wgan-gp lambda 0': (dict(WGAN, network='pggan', reconstruction_weight=0.0), 'appendix 5.4, no l1',
                               'network'),
    'equivariant': (FULL_NOISE, 'the preset, with full noise from the start, not exchanged', 'network'),
    'equivariant l1': (dict(FULL_NOISE, p=1), 'the same with l1', 'network'),
    'wrong l2': (dict(L2, **WRONG), 'no adversary', 'wrong'),
    'wrong l1': (dict(L1, **WRONG), 'no adversary', 'wrong'),
    'wrong (.5,.5)': (dict(HALF, **WRONG), '+ l1', 'wrong'),
    'wrong wgan-gp box': (dict(WGAN, **WRONG), '+ l1, scale-free critic, lambda 10', 'wrong'),
    'wrong wgan-gp 10': (dict(WGAN, critic_scale='literal', **WRONG), '+ l1, literal, lambda 10', 'wrong'),
    'wrong equivariant': (WRONG, '`equivariant`, no adversary, l2', 'wrong'),
    'wrong equivariant l1': (dict(p=1, **WRONG), '`equivariant`, no adversary, l1', 'wrong'),
}  # fmt: skip
