"""Names for the arrays that travel through the engine, for signatures; shapes and units stand in the docstrings.

Arrays are numpy's, in the order (row, y, x); tensors have a channel after the row. A shape in a docstring is written
``[n, box, box]``: n particles, box px. Nothing here is checked at run time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Images: TypeAlias = NDArray[np.float32]  # [n, box, box], grey values
Volume: TypeAlias = NDArray[np.float32]  # [box, box, box], (z, y, x)
Floats: TypeAlias = NDArray[np.float64]  # a number for each particle, or a curve
Rows: TypeAlias = NDArray[np.int64]  # [n], rows of a table or positions in a set
RowsLike: TypeAlias = Sequence[int] | Rows  # rows that are asked for, in the order that is wanted
Flags: TypeAlias = NDArray[np.bool_]  # [n]
Matrices: TypeAlias = NDArray[np.float64]  # [n, 3, 3], A of p_img = A p_vol
Shifts: TypeAlias = NDArray[np.float64]  # [n, 2], (x, y) in px, the shift that centres the image

Tensor: TypeAlias = 'torch.Tensor'
CtfParameters: TypeAlias = dict[str, Floats]  # as ParticleTable.ctf() gives them
AnyPath: TypeAlias = str | Path
Json: TypeAlias = dict[str, Any]
