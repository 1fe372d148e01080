"""Resampling of images in Fourier space: the field of view stays, box and pixel size change."""

import numpy as np
import scipy.fft


def fourier_resample(images, box):
    """images float32 [n, N, N] -> [n, box, box]; grey values and the origin at N//2 are kept.

    Cuts or pads the centred spectrum; band-limited images survive exactly. The images are returned as they are
    when the box is theirs already.
    """
    old = images.shape[-1]
    if box == old:
        return images
    centred = np.fft.ifftshift(images, axes=(-2, -1))
    spectrum = np.fft.fftshift(scipy.fft.fft2(centred), axes=(-2, -1))
    small = min(box, old)
    source, target = old // 2 - small // 2, box // 2 - small // 2
    result = np.zeros((len(images), box, box), spectrum.dtype)
    result[:, target : target + small, target : target + small] = spectrum[:, source : source + small,
                                                                           source : source + small]
    if small % 2 == 0:
        # The Nyquist row has no partner on the other side; without it the result stays real.
        result[:, target] = 0
        result[:, :, target] = 0
    real = scipy.fft.ifft2(np.fft.ifftshift(result, axes=(-2, -1))).real * (box / old) ** 2
    return np.fft.fftshift(real, axes=(-2, -1)).astype(np.float32)
