"""Sets of kept and rejected particles, from the tables that the engine's selection wrote."""

import os

from pyworkflow.object import Float, String

from ..engine.data.scores import REASON, SCORES
from ..engine.data.table import ParticleTable
from ..results import put_attribute

# Names of the outputs; of an Enum, members of one class would be one member.
KEPT, REJECTED = 'outputParticles', 'outputRejected'


def part_of(protocol, suffix, particles, table, scores=None):
    """The items of a set whose ids a table of the engine holds, in a new set; None when there is no such table.

    scores: {column: {id: value}} to add as attributes, numbers or words.
    """
    if not os.path.exists(table):
        return None
    ids = set(ParticleTable.read(table).ints('rlnImageId').tolist())
    part = protocol._createSetOfParticles(suffix)
    part.copyInfo(particles)

    def choose(item, row):
        item._appendItem = item.getObjId() in ids
        for label, values in (scores or {}).items():
            nothing, kind = ('', String) if label == REASON else (0.0, Float)
            put_attribute(item, '_' + label, kind, values.get(item.getObjId(), nothing))

    part.copyItems(particles, updateItemCallback=choose, doClone=False)
    part.setObjLabel(f'{os.path.basename(table).split(".")[0].split("_")[0]} by {protocol.getRunName()}')
    return part


def scores_in(*tables):
    """{column: {id: score or reason}} of those tables that are there."""
    found = {}
    for path in filter(os.path.exists, tables):
        table = ParticleTable.read(path)
        ids = table.ints('rlnImageId').tolist()
        found |= {s.label: dict(zip(ids, table.floats(s.label))) for s in SCORES if table.has(s.label)}
        if table.has(REASON):
            found[REASON] = dict(zip(ids, table.strings(REASON)))
    return found
