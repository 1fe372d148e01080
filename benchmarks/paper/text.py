"""Words of the tables' page: what was done, and what the numbers say of the paper, counted from them each time."""

STYLE = """body{font:15px/1.45 sans-serif;max-width:78em;margin:2em auto;padding:0 1em}h2{margin-top:2em}
td,th{padding:.15em .6em;text-align:right;vertical-align:top;white-space:nowrap}
td:first-child{text-align:left}
th{border-bottom:1px solid #888}table{border-collapse:collapse;font-size:13px}tr:nth-child(even){background:#f2f2f2}
small{color:#777}img{max-width:100%}"""

BASIS = """<ul>
<li><b>Clipped noise.</b> The authors' scripts add noise with a function that clips the result to [0, 1] (its default).
That moves the mean of every pixel and cripples linear filters: the table "clip" has the same methods on clipped
images, raw and after the best gain and offset of each image. Everywhere else on this page noise is not clipped.
<li><b>Evaluation in training mode.</b> The scripts leave batch normalisation in training mode when they measure, so
that every test image is normalised by the others of its batch. Networks are measured in evaluation mode here; the
authors' way was not repeated.
<li><b>Epochs as repeats.</b> The paper's standard deviations are those of the "top five models", five epochs of one run
chosen on the test images, not of repeated runs. Here the checkpoint is chosen on validation images, test images are
measured once, and ± is the spread over seeds (data, noise, weights) where there are several; one seed elsewhere.
<li><b>Contamination by batch.</b> The scripts replace whole batches, the same in every epoch; here single pairs are.
<li><b>SSIM.</b> Theirs has data range 2, ours 1 (Gaussian window of 1.5 px): theirs is higher for the same images.
</ul>"""

HEADINGS = {
    '1': (
        'Table 1: methods and noise levels',
        'MSE x 10⁻³ of images in [0, 1]. "Over the limit" is the error divided by that of the posterior mean, on the '
        'same images.',
    ),
    'limit': (
        'The limit',
        'Posterior mean given the true maps and the true noise level, over all orientations and conformations: in '
        'expectation no method has a lower MSE. Convergence of the search: benchmarks/results/limit.md.',
    ),
    'long': ('Longer training', 'The same measure at several times the cost of Table 1.'),
    'clip': ("The authors' clipping", 'Noise cut to [0, 1] after it was added. Compare raw and affine MSE.'),
    '2': (
        'Table 2: contaminated training sets',
        'MSE x 10⁻³ on clean test images; in brackets the factor to the same model without contamination ("none"); '
        'below, in grey, the paper. Training is shorter than in Table 1.',
    ),
    '3': (
        'Table 3: a refined data set',
        "RELION's own refinement of 1,500 simulated particles with CTF (the paper's EMPIAR-10028 was not to be had). "
        'References are projections of the refined map at the refined angles. Errors after an affine fit of each '
        'image, in parts of the variance of the truth (of the projections).',
    ),
    '4': ('Table 4: (alpha, beta)', 'GAN + l1, lambda 10. The largest errors are runs that went astray in this time.'),
    '5': (
        'Table 5: plain convolutions',
        'The network without residual blocks; twice the training of Table 1. The gallery below Section 5.4 shows that '
        'its GANs have learned little but the mean image.',
    ),
    '6': ('Table 6: the weight of l1', '(.5,.5)-GAN. The paper prints 10000 for its last line.'),
    'pggan': (
        'Section 5.4: PGGAN',
        'Three times the training of Table 1, half of it spent on growing through five resolutions.',
    ),
    'figure2': ('Figure 2: JS-GAN alone and with l1', 'Twice the training of Table 1.'),
    'clusters': (
        'Clustering of five states at uniformly random views',
        'Fresh sets on which no option was chosen; shipped options, true angles; mean ± s.d. of the draws. With the '
        'true maps and angles the noisy set allows an index of 0.63. "K auto" is '
        'chosen by the mean silhouette. A Rand index of 0 is chance, 1 is perfect. Grey values as projected; '
        '"each in [0, 1]" are images scaled one by one as everywhere else on this page.',
    ),
    'views': (
        'Figures 6 and 8, section 5.2: two states from one side',
        '30 open and 30 closed particles at SNR 0.05, views within about 5 degrees (s.d. of each axis) of one '
        'direction that is drawn anew for every set, aligned in the plane, embedded, k-means. Accuracy, and below it '
        'the adjusted Rand index; mean ± s.d. over sets. Chance is about 0.55. The paper counted one set: Isomap '
        '54/60, spectral 50/60, MDS 46/60, t-SNE 46/60.',
    ),
}


GALLERY = 'The first four test particles; grey values of each image from its 0.5th to its 99.5th percentile.'
CAPTIONS = {
    'gallery_snr0.05': f'Figure 5, SNR 0.05. {GALLERY}',
    'gallery_snr0.1': f'Figure 5, SNR 0.1. {GALLERY}',
    'gallery_refined': f'Figure 7. {GALLERY}',
    'gallery_lambda': f'Figure 11, SNR 0.1. {GALLERY}',
    'gallery_plain_pggan': f'Figures 9 and 10: PGGAN at SNR 0.05, plain networks at 0.1. {GALLERY}',
    'figure2': "Validation error and the discriminator's answer to denoised images against iterations.",
    'clusters': 'One point a draw; 0 is chance.',
    'figure6': 'Figure 6: Isomap of the first set; colours are the true states.',
    'figure8': 'Figure 8: four embeddings of the images of the l2-autoencoder, first set; colours are the true states.',
}


def about(scale):
    """The data and the training, in a paragraph."""
    molecule = 'a claw of Gaussian blobs in three states'
    if not scale.phantom:
        molecule = (
            'RNA polymerase (4XLN) with the clamp closed and opened by 5, 10, 15, 20 degrees (semi-synthetic: the '
            "paper's 1L9U and its molecular dynamics were not to be had)"
        )
    return f"""<p>Data: {molecule}, {scale.box} px of {scale.pixel_size:g} Å, uniformly random orientations, each
clean image scaled to [0, 1], white noise of one level for the set, unclipped. {scale.count} images a conformation,
{scale.test} of them all for testing. SNR is per pixel: at {scale.box} px a number means {(128 / scale.box) ** 2:g}
times less information than at the paper's 128 px, so the paper's MSE are shown for their order, not as targets.
Networks have the options <code>{' '.join(scale.network)}</code> beside those of their line (see tables.csv); the
recommended preset has its own. GANs take two generator steps for one of the discriminator, and every network has the
same CPU time, so that an adversary has to earn its cost. Classical methods measure the noise outside the particle's
circle; cwf and wiener learn from all noisy images. Denoised images are measured as the network gives them, without
the cut at the resolution that it holds.</p>"""


def findings(results):
    """Sentences counted from the numbers; those whose numbers are missing are left out."""
    lines = []
    for column in ('SNR 0.1', 'SNR 0.05'):
        means = {k: results.mean('1', k, column) for k, c in results.groups('1') if c == column}
        means = {k: v for k, v in means.items() if v}
        lines += _against_cwf(column, means) + _adversary(column, means)
    lines += _robust(results) + _limit(results) + _weight(results) + _networks(results) + _clipping(results)
    lines += _spread(results)
    return lines or ['Nothing yet: too little was run.']


def _against_cwf(column, means):
    networks = {k: v for k, v in means.items() if 'auto' in k or 'GAN' in k or 'preset' in k}
    if 'cwf' not in means or not networks:
        return []
    beaten = [k for k, v in networks.items() if v > means['cwf']]
    best = min(networks, key=networks.get)
    how = f'beats {len(beaten)} of the {len(networks)} networks' + (f': {", ".join(beaten)}' if beaten else '')
    return [
        f'{column}: the covariance Wiener filter (cwf), whose error the paper puts at 8 times (SNR 0.05: twice) that '
        f'of its networks, has an MSE of {1e3 * means["cwf"]:.2f} and <b>{how}</b>. The best network is the {best} '
        f'with {1e3 * networks[best]:.2f} ({networks[best] / means["cwf"] - 1:+.0%}).'
    ]


def _adversary(column, means):
    gans = {k: v for k, v in means.items() if 'GAN' in k}
    if not gans or 'l1-autoencoder' not in means:
        return []
    plain = means['l1-autoencoder']
    better = sum(v < plain for v in gans.values())
    each = ', '.join(f'{k} {v / plain - 1:+.0%}' for k, v in gans.items())
    return [
        f'{column}: the paper finds every GAN + l1 a few percent below the l1-autoencoder. At equal CPU time '
        f'{better} of {len(gans)} are ({each}): <b>the order was {"" if better == len(gans) else "not "}'
        'reproduced</b>.'
    ]


def _robust(results):
    factors, seeds = {}, []
    for label in ('l1-autoencoder', '(.5,.5)-GAN + l1', '(1,1)-GAN + l1', 'WGAN-GP + l1', 'l2-autoencoder'):
        clean, bad = (results.mean('2', label, c) for c in ('none', 'references 0.3'))
        if clean and bad:
            count = len(results.groups('2')[label, 'references 0.3'])
            factors[label] = f'{bad / clean:.2f} ({label}, {count} seed{"s" * (count > 1)})'
            seeds.append(count)
    if len(factors) < 3:
        return []
    return [
        '30 % of the training references replaced by noise multiplies the error by '
        + ', '.join(factors.values())
        + '. The paper, against its Table 1: 0.97 (l1), 0.98 ((.5,.5) + l1), 0.97 ((1,1) + l1), 4.9 (WGAN-GP + l1), '
        '3.5 (l2).'
    ]


def _limit(results):
    found = {}
    for table in ('1', 'long'):
        for (label, column), group in results.groups(table).items():
            values = [g['excess'] for g in group if 'excess' in g]
            if values and column == 'SNR 0.1' and label != 'noisy':
                found[label] = sum(values) / len(values)
    if not found:
        return []
    best = min(found, key=found.get)
    cwf = f', cwf has {found["cwf"]:.1f} times' if 'cwf' in found else ''
    return [
        f'SNR 0.1: nothing comes near the limit. The {best} is nearest, with {found[best]:.1f} times the error of the '
        f'posterior mean{cwf}. The limit is told the maps, and a method that approaches it by looking at projections '
        'of the map will also draw them for particles that are something else. The networks here are told only pairs, '
        'and trained for seconds: training time, network and the number of pairs are what is missing.'
    ]


def _weight(results):
    means = {label: results.mean('6', label, 'SNR 0.1') for label, _ in results.groups('6')}
    means = {k: v for k, v in means.items() if v}
    if len(means) < 5:
        return []
    best = min(means, key=means.get)
    return [
        f'Table 6: the lowest error is at {best} ({1e3 * means[best]:.2f}; highest {1e3 * max(means.values()):.2f}, '
        'one seed); the paper has it at lambda 10, and its whole table spans 5 %.'
    ]


def _networks(results):
    """The paper's other networks against the residual one."""
    lines = []
    plain, base = (
        results.mean('5', 'l2-autoencoder, plain network', 'SNR 0.1'),
        results.mean('1', 'l2-autoencoder', 'SNR 0.1'),
    )
    gan, wgan = (results.mean(t, f'WGAN-GP + l1{w}', 'SNR 0.1') for t, w in (('5', ', plain network'), ('1', '')))
    if plain and base and gan and wgan:
        lines.append(
            f'Table 5: in twice the time the network without residual blocks has {plain / base:.2f} times (l2) and '
            f'{gan / wgan:.2f} times (WGAN-GP + l1) the error of the residual one; in the paper 1.28 and 1.05 times.'
        )
    grown, other = (
        results.mean('pggan', 'PGGAN, WGAN-GP + l1', 'SNR 0.05'),
        results.mean('1', 'WGAN-GP + l1', 'SNR 0.05'),
    )
    if grown and other:
        poor = (
            ' It had no time to grow: its images are blocks, and nothing is said of it here.'
            if grown > 3 * other
            else ''
        )
        lines.append(
            f'Section 5.4: in three times the time PGGAN has {grown / other:.1f} times the error of WGAN-GP + l1 with '
            f'the residual network; in the paper twice.{poor}'
        )
    return lines


def _clipping(results):
    found = {m: results.groups('clip').get((m, 'SNR 0.1, clipped')) for m in ('nlm', 'bm3d', 'ksvd', 'cwf')}
    if not all(found.values()):
        return []
    text = '; '.join(
        f'{m} {1e3 * v[0]["mse"]:.1f} raw, {1e3 * v[0]["mse_affine"]:.1f} affine' for m, v in found.items()
    )
    return [
        "Clipping the noise, as the authors' scripts do, gives classical rows of the size of the paper's (50.2 nlm, "
        f'35.2 bm3d, 18.4 ksvd, 25.3 cwf): {text}.'
    ]


def _spread(results):
    """S.d. of checkpoints of one run against s.d. over runs."""
    import numpy as np

    lines = []
    for label in ('l1-autoencoder', 'l2-autoencoder'):
        group = results.groups('1').get((label, 'SNR 0.1'), [])
        if len(group) > 2:
            runs = np.std([g['mse'] for g in group], ddof=1)
            lines.append(f'{1e3 * runs:.3f} over {len(group)} runs of the {label}')
    return [f"Spread of the MSE x 10⁻³ (the paper's 0.01 to 0.08 is over epochs): {'; '.join(lines)}."] if lines else []
