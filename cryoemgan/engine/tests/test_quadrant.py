"""Steerable functions by quadrants are those of their formula, point by point."""

import torch

from ..imaging.steerable import STEP, FourierPlane, SteerableBasis

BOX = 16


def by_formula(plane, order, profiles):
    """Rows float64 [2 K, 2 P]: what the real and the imaginary part of each coefficient add."""
    rows = []
    for m, profile in zip(order.tolist(), profiles):
        # Profiles here are constant in |k|; at k = 0 the coordinate is not doubled.
        g = torch.where(plane.r == 0, profile[0] / 2**0.5, profile[0]).double()
        wave = torch.polar(torch.ones_like(plane.theta), plane.theta).to(torch.complex128) ** m
        first = torch.view_as_real(g * (wave + (-1) ** m * wave.conj())).flatten()
        second = torch.view_as_real(1j * g * (wave - (-1) ** m * wave.conj())).flatten()
        rows += [first / first.norm(), second / first.norm()]
    return torch.stack(rows)


def test_functions_are_those_of_the_formula_and_products_and_least_squares_belong_to_them():
    plane, order = FourierPlane(BOX), torch.tensor([1, 2, 5, 4, 3])
    profiles = torch.linspace(1, 2, 5)[:, None].expand(-1, round(plane.radius / STEP) + 1).contiguous()
    basis = SteerableBasis(plane, order, profiles, torch.ones(5))
    rows = by_formula(plane, order, profiles)
    torch.testing.assert_close(basis.matrix.double(), rows, atol=1e-6, rtol=0)
    given = torch.randn(3, 2, 5, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    vectors = basis.synthesise(given)
    direct = torch.view_as_real(given).flatten(2).double() @ rows
    torch.testing.assert_close(torch.view_as_real(vectors).flatten(2).double(), direct, atol=1e-5, rtol=0)
    products = torch.view_as_real(basis.products(vectors)).flatten(2).double()
    torch.testing.assert_close(products, direct @ rows.T, atol=1e-5, rtol=0)
    torch.testing.assert_close(basis.coefficients(vectors), given, atol=1e-3, rtol=0)


def test_files_hold_the_plane_row_by_row():
    plane = FourierPlane(BOX)
    inside = [(y % BOX) * (BOX // 2 + 1) + x for y in range(-7, 8) for x in range(8)
              if x * x + y * y <= 49 and (x > 0 or y >= 0)]  # fmt: skip
    assert plane.index[plane.raster].tolist() == sorted(inside)
