"""``cluster``: particles sorted into conformations by their place along the modes of change, or by their images; and
the average of each class."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch

from ... import figures
from ..clustering import embedding as clustering
from ..clustering.averages import class_averages
from ..clustering.variability import Modes, Slices
from ..data.image_state import CtfState, of_particles
from ..data.matching import match
from ..data.particles import open_particles
from ..data.sampling import chunks
from ..data.scores import Score
from ..data.stack_writer import StackWriter
from ..data.table import ParticleTable
from ..errors import InputError
from ..files import atomic
from ..imaging.ctf import ctf_rfft
from ..imaging.ctf import seen as seen_through
from ..job import Job
from ..settings.cluster import Cluster
from ..shapes import CtfParameters, Floats, Json, Rows, Tensor

TABLE, POINTS, PICTURE, AVERAGES = 'clusters.star', 'embedding.csv', 'embedding.png', 'averages.mrcs'
CLASS = Score('class', 'rlnClassNumber', 'Class', 'number of the class', True)

# Features of the landmarks; those of any rows; and what rows say of them, with its precision, where that is known.
Features: TypeAlias = tuple[Floats, Callable[[Rows], Floats], Callable[[Rows], tuple[Floats, Floats]] | None]


@dataclass
class ClusterInputs:
    """Checked input. members: the particles that averages are made of, and their rows in the table. truth: int64 [n]
    or None; ctf: None where it is not needed."""

    table: ParticleTable
    members: tuple[ParticleTable, Rows]
    compare: str
    embedding: str
    clusters: str | int
    truth: Rows | None
    ctf: CtfParameters | None


def load_inputs(settings: Cluster, job: Job) -> ClusterInputs:
    """ClusterInputs; InputError for anything that cannot be clustered."""
    table = open_particles(job, settings.particles)
    wanted = settings.clusters
    if wanted != 'auto' and not (wanted.isdecimal() and 2 <= int(wanted) <= len(table)):
        raise InputError(f'--clusters: {wanted!r} must be auto or a number from 2 to the number of particles')
    compare = settings.compare
    if compare == 'auto':
        compare = 'variability' if table.has('rlnAngleTilt') else 'images'
    embedding = settings.embedding
    if embedding == 'auto':
        embedding = 'pca' if compare == 'variability' else 'isomap'
    if embedding == 'tsne' and settings.dimensions not in (2, 3):
        raise InputError(f'--dimensions: t-SNE takes 2 or 3, not {settings.dimensions}')
    if len(table) < 10:
        raise InputError(f'{table.path}: {len(table)} particles are too few to cluster')
    table.images()
    seen = compare == 'variability'
    with_ctf = seen and table.has('rlnDefocusU') and of_particles(table) is not CtfState.NONE
    return ClusterInputs(
        table,
        _members(settings, job, table),
        compare,
        embedding,
        wanted if wanted == 'auto' else int(wanted),
        table.ints(settings.truth) if settings.truth else None,
        table.ctf() if with_ctf else None,
    )


def _members(settings: Cluster, job: Job, table: ParticleTable) -> tuple[ParticleTable, Rows]:
    if not settings.source:
        return table, np.arange(len(table))
    source = ParticleTable.read(job.input(settings.source))
    rows, found = match(table, source)
    return source.subset(found), rows


def run(settings: Cluster, job: Job, inputs: ClusterInputs) -> Json:
    """Write embedding.csv, its picture, averages.mrcs, and clusters.star."""
    table = inputs.table
    torch.set_num_threads(settings.threads or torch.get_num_threads())
    rng = np.random.default_rng(settings.seed)
    landmarks = np.sort(rng.permutation(len(table))[: settings.landmarks])
    features = _variability if inputs.compare == 'variability' else _aligned
    learned, of_rows, evidence = features(settings, inputs, landmarks)
    found = clustering.learn(
        learned, inputs.embedding, settings.dimensions, inputs.clusters, settings.neighbours, settings.seed
    )
    every = _parts(np.arange(len(table)), settings.batch_size)
    parts = [found.place(of_rows(rows)) for rows in every]
    points, labels = (np.concatenate([p[i] for p in parts]) for i in (0, 1))
    if evidence and inputs.embedding == 'pca':
        towards, precision = evidence(landmarks)
        weighted = clustering.Weighted(towards, precision, labels[landmarks])
        labels = np.concatenate([weighted(*evidence(rows)) for rows in every])
    result = {
        'particles': len(table), 'compare': inputs.compare, 'embedding': inputs.embedding,
        'clusters': int(labels.max()), 'sizes': np.bincount(labels)[1:].tolist(),
        'chosen_by': 'silhouette' if found.silhouettes else 'given', 'silhouettes': found.silhouettes,
        'landmarks': len(landmarks), 'neighbours': found.neighbours,
    }  # fmt: skip
    if found.neighbours and found.neighbours > settings.neighbours:
        job.warn(f'the graph of {settings.neighbours} neighbours was in pieces; {found.neighbours} were taken')
    if inputs.truth is not None:
        result.update(clustering.agreement(inputs.truth, labels, settings.seed))
    result['members'] = _write_averages(job, *inputs.members, labels)
    _write(job, inputs, points, labels)
    return result


def _variability(settings: Cluster, inputs: ClusterInputs, landmarks: Rows) -> Features:
    """Features of landmarks, a function that gives those of any rows, and one of what rows say of them."""
    table, shifts = inputs.table, inputs.table.shifts()
    slices = Slices(table.box, settings.detail)
    matrices = table.rotations()

    def seen(rows: Rows) -> tuple[Tensor, Tensor, Tensor | None]:
        coefficients = slices.of(table.images().read(rows), shifts[rows])
        return coefficients, torch.as_tensor(matrices[rows], dtype=torch.float32), _ctf(rows)

    def _ctf(rows: Rows) -> Tensor | None:
        if inputs.ctf is None:
            return None
        params = {name: values[rows] for name, values in inputs.ctf.items()}
        whole = ctf_rfft(table.box, table.pixel_size, params)
        whole = seen_through(whole, of_particles(table))
        return whole[:, slices.ky % table.box, slices.kx]

    batches = [seen(rows) for rows in _parts(landmarks, settings.batch_size)]
    modes = Modes(slices, settings.components, settings.seed).learn(batches)

    def of_rows(rows: Rows) -> Floats:
        return modes.locate(*seen(rows)).numpy().astype(np.float64)

    def evidence(rows: Rows) -> tuple[Floats, Floats]:
        parts = [modes.evidence(*seen(part)) for part in _parts(rows, settings.batch_size)]
        return torch.cat([p[0] for p in parts]).numpy(), torch.cat([p[1] for p in parts]).numpy()

    return np.concatenate([modes.locate(*b).numpy() for b in batches]).astype(np.float64), of_rows, evidence


def _aligned(settings: Cluster, inputs: ClusterInputs, landmarks: Rows) -> Features:
    images = inputs.table.images()
    features = clustering.AlignedImages(inputs.table.box, settings.align)
    return features.learn(images.read(landmarks)), lambda rows: features(images.read(rows)), None


def _parts(rows: Rows, size: int) -> list[Rows]:
    return [rows[part] for part in chunks(len(rows), size)]


def _write_averages(job: Job, members: ParticleTable, rows: Rows, labels: Rows) -> dict[int, int]:
    """Write the averages of the classes; {class: members} in the order of the stack."""
    numbers, averages, sizes = class_averages(members, labels[rows])
    with StackWriter(job.output(AVERAGES), len(averages), members.box, members.pixel_size) as writer:
        writer.append(averages)
    return dict(zip(numbers.tolist(), sizes.tolist()))


def _write(job: Job, inputs: ClusterInputs, points: Floats, labels: Rows) -> None:
    names, truth = inputs.table.names(), inputs.truth
    with atomic(job.output(POINTS)) as partial, open(partial, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        axes = [f'x{i + 1}' for i in range(points.shape[1])]
        writer.writerow(['particle', *axes, 'cluster'] + ([] if truth is None else ['truth']))
        for row, name in enumerate(names):
            extra = [] if truth is None else [int(truth[row])]
            writer.writerow([name, *(f'{x:.6g}' for x in points[row]), labels[row], *extra])
    _draw(job, points, labels, truth)
    output = inputs.table
    output.relocate(job.result)
    output.set('rlnClassNumber', labels)
    output.set_provenance(cluster=inputs.compare)
    output.write(job.output(TABLE))
    figures.gallery_page(
        job.output('gallery.html'), 'Clustered particles', 'Sort by their class, to see what a class holds.',
        {'particle': job.folder / TABLE}, aligned=True, more=[CLASS],
    )  # fmt: skip


def _draw(job: Job, points: Floats, labels: Rows, truth: Rows | None) -> None:
    """Points coloured by cluster, and by truth beside it; histograms when there is one dimension."""
    from matplotlib.figure import Figure

    from ...figures.style import save

    panels = [('cluster', labels)] + ([] if truth is None else [('truth', truth)])
    figure = Figure(figsize=(5 * len(panels), 4.5), layout='constrained')
    for axes, (title, colours) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        for value in np.unique(colours):
            chosen = points[colours == value]
            if points.shape[1] == 1:
                axes.hist(chosen[:, 0], bins=40, alpha=0.6, label=str(value))
            else:
                axes.scatter(chosen[:, 0], chosen[:, 1], s=6, label=str(value))
        axes.set_title(title)
        axes.legend(fontsize='small')
    save(figure, job.output(PICTURE), dpi=110)
