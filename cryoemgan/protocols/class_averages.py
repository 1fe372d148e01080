"""Class averages that a map-free training left, as a set of Scipion."""

import os

from pwem.objects import Particle
from pyworkflow.object import Float

from ..figures.style import read_columns
from ..objects import DenoiserModel
from ..results import put_attribute

STACK, COUNTS = 'averages.mrcs', 'averages.csv'
OUTPUT, SHOWN_BY = 'outputAverages', '_cryoemganShownBy'


def read_averages(folder):
    """[(fold model, number of particles that show it)] of the averages in the folder of a training; [] where there are
    none."""
    if not os.path.exists(os.path.join(folder, STACK)):
        return []
    columns = read_columns(os.path.join(folder, COUNTS), text=('fold_model',))
    return list(zip(columns['fold_model'], columns['particles']))


def define_averages(protocol, folder):
    """Give a protocol the output with the averages in the folder of a training, if there are any."""
    shown = read_averages(folder)
    if not shown:
        return
    averages = protocol._createSetOfAverages()
    averages.setSamplingRate(DenoiserModel.fromFolder(os.path.join(folder, 'model')).getPixelSize())
    for k, (_, particles) in enumerate(shown, 1):
        average = Particle(location=(k, os.path.join(folder, STACK)))
        put_attribute(average, SHOWN_BY, Float, particles)
        averages.append(average)
    protocol._defineOutputs(**{OUTPUT: averages})
    protocol._defineSourceRelation(protocol.inputParticles, averages)
