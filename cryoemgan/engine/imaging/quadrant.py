"""Functions g(|k|) exp(i m theta) of half the Fourier plane, multiplied in a quarter of the time.

Of a real image, what such a function adds to the half plane is real for even orders and imaginary for odd ones. A
cosine is the same at (kx, ky) and (kx, -ky), a sine changes its sign: so one quadrant holds everything.
"""

from __future__ import annotations

import torch

from ..shapes import Tensor


class QuadrantFunctions:
    """K functions, each times a complex coefficient; their points are in the order of a FourierPlane.

    order: int64 [K], m. cosines, sines: float32 [K, Q], g cos(m theta) and g sin(m theta) where ky >= 0. axes: how many
    of these Q points, the first ones, lie on an axis and have no other with -ky in the half plane.
    """

    def __init__(self, order: Tensor, cosines: Tensor, sines: Tensor, axes: int) -> None:
        self.order, self.axes = order, axes
        self._cosines, self._sines = cosines, sines
        self.points = 2 * cosines.shape[1] - axes
        self._even, self._odd = (torch.nonzero(order % 2 == parity)[:, 0] for parity in (0, 1))
        # Columns of the real and imaginary parts that meet each table.
        self._tables = cosines[self._even], -sines[self._even], cosines[self._odd], sines[self._odd]

    def __len__(self) -> int:
        return len(self.order)

    def part(self, count: int, inside: Tensor) -> QuadrantFunctions:
        """The first ``count`` functions at some points: bool [P], the same on either side of ky = 0."""
        size = self._cosines.shape[1]
        chosen = inside[:size]
        cosines, sines = (table[:count, chosen] for table in (self._cosines, self._sines))
        return QuadrantFunctions(self.order[:count], cosines, sines, int(chosen[: self.axes].sum()))

    def synthesise(self, coefficients: Tensor) -> Tensor:
        """complex64 [..., P]: sums of the functions, as often as coefficients complex64 [..., K] say."""
        flat = coefficients.reshape(-1, len(self))
        real, imaginary, (even, odd) = flat.real, flat.imag, (self._even, self._odd)
        out = torch.empty(len(flat), self.points, 2, device=flat.device)
        self._mirrored(out[..., 0], real[:, even] @ self._tables[0], imaginary[:, even] @ self._tables[1])
        self._mirrored(out[..., 1], imaginary[:, odd] @ self._tables[2], real[:, odd] @ self._tables[3])
        return torch.view_as_complex(out).unflatten(0, coefficients.shape[:-1])

    def products(self, vectors: Tensor) -> Tensor:
        """complex64 [..., K]: real and imaginary part of each function's product with vectors complex64 [..., P]."""
        return self._multiplied(vectors, self._tables)

    def powers(self) -> Tensor:
        """float32 [K, P]: squares of each function, of its real and of its imaginary part."""
        squares = self._cosines.square() + self._sines.square()
        return torch.cat([squares, squares[:, self.axes :]], 1)

    def projector(self, ridge: Tensor) -> QuadrantProjector:
        """What finds coefficients of vectors by least squares. ridge: float64 [K], added to the square of each."""
        return QuadrantProjector(self, ridge)

    def _mirrored(self, out: Tensor, symmetric: Tensor, antisymmetric: Tensor) -> None:
        """Into ``out`` [n, P] the sums at ky >= 0 and the differences at ky < 0 of [n, Q] and [n, Q]."""
        size, axes = symmetric.shape[1], self.axes
        torch.add(symmetric, antisymmetric, out=out[:, :size])
        torch.sub(symmetric[:, axes:], antisymmetric[:, axes:], out=out[:, size:])

    def _folded(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Sums and differences [n, Q] of values [n, P] at ky and -ky."""
        size = self._cosines.shape[1]
        symmetric = values[:, :size].contiguous()
        antisymmetric = symmetric.clone()
        symmetric[:, self.axes :] += values[:, size:]
        antisymmetric[:, self.axes :] -= values[:, size:]
        return symmetric, antisymmetric

    def _multiplied(self, vectors: Tensor, tables: tuple[Tensor, ...]) -> Tensor:
        flat = vectors.reshape(-1, self.points)
        out = torch.empty(len(flat), len(self), 2, device=flat.device)
        symmetric, antisymmetric = self._folded(flat.real)
        out[:, self._even, 0], out[:, self._even, 1] = symmetric @ tables[0].T, antisymmetric @ tables[1].T
        symmetric, antisymmetric = self._folded(flat.imag)
        out[:, self._odd, 1], out[:, self._odd, 0] = symmetric @ tables[2].T, antisymmetric @ tables[3].T
        return torch.view_as_complex(out).unflatten(0, vectors.shape[:-1])


class QuadrantProjector:
    """Coefficients of vectors, by least squares with a ridge; functions of different tables are orthogonal."""

    def __init__(self, functions: QuadrantFunctions, ridge: Tensor) -> None:
        self._functions = functions
        parity = (functions._even, functions._even, functions._odd, functions._odd)
        self._tables = tuple(
            _inverse(table, functions.axes, ridge[columns]) for table, columns in zip(functions._tables, parity)
        )

    def __call__(self, vectors: Tensor) -> Tensor:
        """complex64 [..., K] of vectors complex64 [..., P]."""
        return self._functions._multiplied(vectors, self._tables)


def _inverse(table: Tensor, axes: int, ridge: Tensor) -> Tensor:
    """float32 [k, Q]: what the sums over both sides of ky = 0 are multiplied with, for a table [k, Q]."""
    rows = table.double()
    weight = rows.new_full(rows.shape[1:], 2.0)
    weight[:axes] = 1
    there = rows.any(1).double()
    gram = (rows * weight) @ rows.T + torch.diag(ridge * there + (1 - there))
    return torch.linalg.solve(gram, rows).float()
