"""Parameters of ``denoise``."""

from dataclasses import dataclass

from .base import Settings, option


@dataclass
class Denoise(Settings):
    """Denoise particles with a trained model."""

    particles: str | None = option(None, 'Noisy particles (STAR). Angles are not used; they pass through.',
                                   required=True, path=True, label='Particles')
    model: str | None = option(None, 'Model folder written by train.', required=True, path=True, label='Model')
    batch_size: int = option(64, 'Images denoised together; the result does not depend on it.', ge=1, le=8192,
                             expert=True, label='Batch size')
    precision: str = option('auto', 'Arithmetic of the network: auto = bfloat16 where the processor has it, '
                            'float32 elsewhere.', choices=('auto', 'float32', 'bfloat16'), expert=True,
                            label='Precision')
    output_box: str = option('input', 'input: the result has the particles\' box and pixel size; model: those the '
                             'network was trained at.', choices=('model', 'input'), expert=True, label='Output box')
