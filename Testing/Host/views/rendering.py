"""Pictures of the views, drawn without a screen by Slicer's own displayable managers."""

from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from Host.views.layout_manager import SLICE_VIEWS

_SLICE_MANAGERS = (
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
)
_THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
)
_FRAMES = {"Red": (237, 73, 73), "Green": (88, 189, 78), "Yellow": (242, 214, 59), "3D": (140, 140, 220)}
_FRAME = 3  # pixels


def slice_picture(name: str, size: tuple[int, int] = (400, 400), offset: float | None = None) -> np.ndarray:
    """A slice view ("Red", "Green", "Yellow") as height x width x 3 bytes, fitted to its background volume.

    size: width and height in pixels; offset: of the slice along its normal in mm, the volume's middle without.
    """
    logic = slicer.app.layoutManager().sliceWidget(name).sliceLogic()
    before = logic.GetSliceNode().GetDimensions()[:2]
    logic.ResizeSliceNode(*size)
    logic.FitSliceToBackground()
    if offset is not None:
        logic.SetSliceOffset(offset)
    renderer, overlay = vtk.vtkRenderer(), vtk.vtkRenderer()
    overlay.SetLayer(1)
    mapper, actor = vtk.vtkImageMapper(), vtk.vtkActor2D()
    mapper.SetColorWindow(255)
    mapper.SetColorLevel(127.5)
    if logic.GetImageDataConnection() is not None:
        mapper.SetInputConnection(logic.GetImageDataConnection())
        actor.SetMapper(mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        renderer.AddViewProp(actor)
    for layer in (renderer, overlay):
        layer.GetActiveCamera().ParallelProjectionOn()
    factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
    picture = _draw(factory, _SLICE_MANAGERS, logic.GetSliceNode(), [renderer, overlay], size)
    logic.ResizeSliceNode(*before)
    return picture


def three_d_picture(
    size: tuple[int, int] = (400, 400), azimuth: float = 30.0, elevation: float = 15.0, zoom: float = 1.3
) -> np.ndarray:
    """The 3D view as height x width x 3 bytes: from the front, turned by angles in degrees."""
    node = slicer.app.layoutManager().threeDWidget(0).mrmlViewNode()
    node.SetBoxVisible(False)
    node.SetAxisLabelsVisible(False)

    def aim(renderer) -> None:
        camera = renderer.GetActiveCamera()
        camera.SetFocalPoint(0.0, 0.0, 0.0)
        camera.SetPosition(0.0, 500.0, 0.0)
        camera.SetViewUp(0.0, 0.0, 1.0)
        camera.Azimuth(azimuth)
        camera.Elevation(elevation)
        renderer.ResetCamera()
        camera.Zoom(zoom)
        renderer.ResetCameraClippingRange()

    factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
    return _draw(factory, _THREE_D_MANAGERS, node, [vtk.vtkRenderer()], size, aim)


def four_views(size: tuple[int, int] = (800, 600), offsets: dict[str, float] | None = None, **three_d) -> np.ndarray:
    """Red and 3D above, Green and Yellow below, each in a frame of its colour, as height x width x 3 bytes.

    offsets: by view name, in mm. three_d: for three_d_picture.
    """
    inner = (size[0] // 2 - 2 * _FRAME, size[1] // 2 - 2 * _FRAME)
    pictures = {name: slice_picture(name, inner, (offsets or {}).get(name)) for name in SLICE_VIEWS}
    pictures["3D"] = three_d_picture(inner, **three_d)
    framed = {name: _framed(picture, _FRAMES[name]) for name, picture in pictures.items()}
    rows = [[framed["Red"], framed["3D"]], [framed["Green"], framed["Yellow"]]]
    return np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)


def save_png(picture: np.ndarray, path: str | Path) -> None:
    """Write a picture (height x width x 3 bytes)."""
    height, width, components = picture.shape
    image = vtk.vtkImageData()
    image.SetDimensions(width, height, 1)
    image.GetPointData().SetScalars(numpy_to_vtk(picture[::-1].reshape(-1, components), deep=True))
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(image)
    writer.Write()


def _draw(factory, managers, node, renderers: list, size: tuple[int, int], aim=None) -> np.ndarray:
    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(True)
    window.SetMultiSamples(4 if aim else 0)
    window.SetSize(*size)
    window.SetNumberOfLayers(len(renderers))
    for renderer in renderers:
        window.AddRenderer(renderer)
    interactor = vtk.vtkRenderWindowInteractor()
    interactor.SetRenderWindow(window)
    interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
    interactor.Initialize()
    for manager in managers:
        if not factory.IsDisplayableManagerRegistered(manager):
            factory.RegisterDisplayableManager(manager)
    group = slicer.vtkMRMLDisplayableManagerGroup()
    group.SetRenderer(renderers[0])
    group.Initialize(factory, renderers[0])
    group.SetMRMLDisplayableNode(node)
    if aim is not None:
        aim(renderers[0])
    window.Render()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    grab.Update()
    image = grab.GetOutput()
    width, height, _ = image.GetDimensions()
    pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3].copy()
    group.SetMRMLDisplayableNode(None)
    window.Finalize()
    return pixels


def _framed(picture: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    height, width, components = picture.shape
    framed = np.empty((height + 2 * _FRAME, width + 2 * _FRAME, components), dtype=np.uint8)
    framed[:] = color
    framed[_FRAME:-_FRAME, _FRAME:-_FRAME] = picture
    return framed
