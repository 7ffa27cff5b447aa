"""Matrices for tests of the module in Slicer's coordinates (RAS, mm)."""

import numpy as np
import vtk


def vtk_matrix(matrix) -> vtk.vtkMatrix4x4:
    """A 4 x 4 array as VTK's matrix."""
    result = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            result.SetElement(row, column, float(matrix[row][column]))
    return result


def oblique(seed: int = 0, spacing=(0.7, 0.8, 3.0), left_handed: bool = False) -> np.ndarray:
    """4 x 4, IJK to RAS: a turned grid with these spacings (mm along I, J, K)."""
    random = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(random.normal(size=(3, 3)))
    if (np.linalg.det(axes) < 0) != left_handed:
        axes[:, 2] *= -1
    matrix = np.eye(4)
    matrix[:3, :3] = axes * np.array(spacing)
    matrix[:3, 3] = random.uniform(-100, 100, 3)
    return matrix


def rigid(seed: int = 0) -> np.ndarray:
    """4 x 4: a turn and a shift, as registration makes them."""
    return oblique(seed, spacing=(1.0, 1.0, 1.0))
