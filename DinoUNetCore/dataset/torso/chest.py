"""Lungs with their vessels, airways, heart and great vessels of the chest, and the diaphragm below them."""

from DinoUNetCore.dataset.torso.body import AIR, PHANTOM_LABELS, Patient, tube
from DinoUNetCore.dataset.torso.canvas import Paint
from DinoUNetCore.dataset.torso.draw import Draw, rotation, waves
from DinoUNetCore.dataset.torso.shapes import Capsule, Cut, Ellipsoid, HalfSpace, Shell, Union


def lungs(patient: Patient) -> list[Paint]:
    draw = patient.draw
    density = draw.between(-880, -820)
    paints: list[Paint] = []
    for side, name in ((1, "lung_left"), (-1, "lung_right")):
        floor = HalfSpace((0, 0, draw.between(-50, -40)), (0, -0.3, -1), waves(draw, 2, 6, 60, 110))
        middle = HalfSpace((side * 2, 0, 0), (-side, 0, 0))
        half = Cut(patient.cavity, inside=[floor])
        half.keep = True
        lung = Cut(half, inside=[middle], margin=0)
        lung.keep, lung.box = True, ((side * 68, 0, 80), (82, 115, 170))
        inset = 2.5
        paints.append(
            Paint(lung, density, PHANTOM_LABELS[name], inset, waves(draw, 4, 30, 14, 90), slope=draw.between(0.2, 0.7))
        )
        fissure = HalfSpace((side * 70, -10, 70), (0, 0.75, 1))
        paints.append(Paint(Shell(fissure, 0, 0.7, waves(draw, 2, 3, 60, 120)), -560, within=lung, margin=3))
        hilum = (side * 34, 4, 84)
        for _ in range(11):
            _branch(patient, paints, lung, hilum, _outward(draw, side), draw.between(38, 50), draw.between(4.5, 6.0), 0)
        for _ in range(4):
            end = [h + 42 * d for h, d in zip(hilum, _outward(draw, side), strict=True)]
            airway = Capsule(hilum, end, 4.6, 2.4)
            paints.append(Paint(airway, 10, within=lung, margin=3))
            paints.append(Paint(airway, -960, inset=1.5, within=lung, margin=3))
    return paints


def _outward(draw: Draw, side: int) -> tuple[float, float, float]:
    x, y, z = draw.direction()
    return side * (abs(x) + 0.25), y, z * 1.2


def _branch(patient: Patient, paints, lung, start, way, length, radius, depth) -> None:
    """Vessels of the lung fork five times, thinner and shorter each time."""
    norm = (way[0] ** 2 + way[1] ** 2 + way[2] ** 2) ** 0.5
    end = tuple(s + w / norm * length for s, w in zip(start, way, strict=True))
    vessel = Capsule(start, end, radius, radius * 0.78)
    paints.append(Paint(vessel, patient.hu["right heart"] * 0.8, within=lung, margin=3))
    if depth == 4:
        return
    for _ in range(2):
        turn = patient.draw.direction()
        child = tuple(w / norm + 0.75 * t for w, t in zip(way, turn, strict=True))
        _branch(patient, paints, lung, end, child, length * patient.draw.between(0.62, 0.85), radius * 0.76, depth + 1)


def mediastinum(patient: Patient) -> list[Paint]:
    draw, hu, label = patient.draw, patient.hu, PHANTOM_LABELS["heart"]
    c = draw.near((22, -28, 52), 4)
    axes = rotation(draw.between(0.1, 0.2), draw.between(0.1, 0.22), draw.between(0.3, 0.42))
    size = draw.around(1, 0.08)
    heart = Ellipsoid(c, (66 * size, 44 * size, 47 * size), axes, waves(draw, 2, 2.5, 60, 110))
    around = Ellipsoid((c[0] - 3, c[1] - 2, c[2] + 5), (73 * size, 51 * size, 60 * size), axes)
    column = Ellipsoid((0, 6, 95), (32, 78, 170))
    front = Ellipsoid((2, -52, 110), (19, 48, 90))
    space = Cut(Union([around, column, front], 22, waves(draw, 2, 4, 40, 90)), inside=[patient.cavity], margin=1)

    def chamber(offset, radii, value, spread=0.08):
        centre = [m + o * size for m, o in zip(c, offset, strict=True)]
        shape = Ellipsoid(centre, [r * size for r in radii], axes, waves(draw, 2, 3, 25, 60))
        return Paint(shape, draw.around(value, spread), within=heart, margin=4, texture=waves(draw, 2, 8, 20, 50))

    return [
        Paint(space, patient.inner_fat, 0, texture=waves(draw, 3, 14, 10, 40)),
        Paint(heart, hu["myocardium"], label),
        chamber((17, 4, -8), (35, 17, 19), hu["left heart"]),
        chamber((2, -28, -8), (42, 14, 24), hu["right heart"]),
        chamber((-38, 0, 2), (20, 24, 28), hu["right heart"]),
        chamber((-14, 31, 16), (29, 14, 19), hu["left heart"]),
        *tube([(6, -20, 84), (14, -28, 104), (22, -10, 118), (20, 6, 116)], 14, hu["right heart"]),
        *tube([(18, 2, 114), (-12, -4, 108), (-40, 4, 92)], 10.5, hu["right heart"]),
        *tube([(22, 6, 114), (40, 12, 100)], 10.5, hu["right heart"]),
        *tube([(-24, -16, 60), (-27, -12, 110), (-25, -14, 165), (-38, -22, 190)], 10, hu["right heart"]),
        *tube([(5, 30, 190), (10, 30, 120), (16, 22, 40), (20, 0, -8)], 7.5, 45),
        *_airways(),
    ]


def _airways() -> list[Paint]:
    carina = (-1, 18, 112)
    tubes = [Capsule((-2, 10, 215), carina, 10.5, 10), Capsule(carina, (-36, 8, 92), 8.5, 7)]
    tubes.append(Capsule(carina, (36, 8, 88), 8, 6.5))
    return [Paint(t, 30, 0) for t in tubes] + [Paint(t, AIR, None, 1.7) for t in tubes]


def diaphragm(patient: Patient) -> list[Paint]:
    floor = HalfSpace((0, 0, -95), (0, 0, -1))
    domes = Cut(patient.domes, inside=[patient.cavity, floor], margin=1)
    below = HalfSpace((0, 0, -105), (0, 0, -1))  # deeper, or the diaphragm would close the abdomen like a lid
    filling = Cut(patient.domes, inside=[patient.cavity, below], margin=1)
    return [
        Paint(domes, patient.hu["muscle"], 0),
        Paint(filling, patient.inner_fat, 0, 3.2, waves(patient.draw, 3, 12, 10, 50)),
    ]
