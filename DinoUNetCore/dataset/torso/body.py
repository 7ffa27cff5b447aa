"""What all parts of the patient share (labels, brightness, surfaces of the trunk), the trunk's wall and the table."""

from itertools import pairwise

from DinoUNetCore.dataset.torso.canvas import Paint
from DinoUNetCore.dataset.torso.draw import Draw, waves
from DinoUNetCore.dataset.torso.shapes import Capsule, Ellipsoid, Shell, Table, Trunk, Union
from DinoUNetCore.dataset.torso.skeleton import Bones

PHANTOM_LABELS = {
    "background": 0,
    "spleen": 1,
    "kidney_right": 2,
    "kidney_left": 3,
    "liver": 4,
    "stomach": 5,
    "lung_left": 6,
    "lung_right": 7,
    "heart": 8,
    "aorta": 9,
    "spine": 10,
}

# HU without contrast, in the arterial and in the portal venous phase
PHASES = {
    "aorta": (42, 310, 150),
    "left heart": (42, 290, 150),
    "right heart": (42, 200, 145),
    "myocardium": (46, 105, 110),
    "veins": (40, 75, 145),
    "portal": (42, 95, 165),
    "liver": (57, 70, 108),
    "spleen": (48, 115, 120),
    "cortex": (32, 170, 185),
    "medulla": (30, 65, 150),
    "gut wall": (40, 75, 90),
    "pancreas": (40, 95, 90),
    "muscle": (52, 58, 62),
}

FAT, AIR, WATER = -102, -995, 8


class Patient:
    """One patient's build, drawn from `draw`: every part of the body takes its measures and brightness from here."""

    def __init__(self, draw: Draw):
        self.draw = draw
        self.scale = (draw.between(0.93, 1.07), draw.between(0.93, 1.07), draw.between(0.94, 1.06))
        phase = draw.choice((0, 1, 2, 2))
        self.hu = {tissue: draw.around(values[phase], 0.1) for tissue, values in PHASES.items()}
        self.fat = draw.around(FAT, 0.06)
        self.inner_fat = self.fat + 8
        fatness = draw.between(0, 1)
        lumps = waves(draw, 2, 2.5, 90, 170)
        self.cavity = Trunk(draw.around(127, 0.03), 82 + 22 * fatness, 84, 58, 168, lumps=lumps)
        self.muscle = Trunk(
            self.cavity.width + 17, self.cavity.front + 12, 107, 175, 100, square=0.5, groove=5, lumps=lumps
        )
        layer = 7 + 26 * fatness
        self.body = Trunk(
            self.muscle.width + layer * 0.9,
            self.muscle.front + layer,
            self.muscle.back + 6 + layer * 0.45,
            185,
            95,
            -235,
            0.5,
            6,
            waves(draw, 2, 6, 120, 220),
        )
        self.bones = Bones(draw, PHANTOM_LABELS["spine"])
        self.domes = Union(
            [
                Ellipsoid((-60, -4, -72), (88, 94, 85)),
                Ellipsoid((64, -2, -84), (82, 90, 80)),
                Ellipsoid((2, -18, -90), (95, 82, 86)),
            ],
            24,
            waves(draw, 2, 4, 70, 140),
            keep=True,
        )


def tube(points, radius, value, label=None, wall=0.0, wall_value=0.0) -> list[Paint]:
    """A vessel through `points`; with a wall, all of the wall is painted first."""
    pieces = [Capsule(a, b, radius, radius) for a, b in pairwise(points)]
    outer = [Paint(piece, wall_value, label) for piece in pieces] if wall else []
    return outer + [Paint(piece, value, label, wall) for piece in pieces]


def table(patient: Patient) -> list[Paint]:
    """The scanner's table touches the back; it does not turn or stretch with the patient."""
    top = patient.body.back * patient.scale[1] + patient.draw.between(3, 7)
    return [Paint(Table(top, 212), -640), Paint(Table(top, 212), -955, inset=2.2)]


def wall(patient: Patient) -> list[Paint]:
    """Skin, fat under it, the layers of muscle, and the fat that fills the trunk before any organ is painted."""
    draw, muscle = patient.draw, patient.hu["muscle"]
    sheets = [Shell(patient.muscle, depth, 1.6, waves(draw, 3, 2.4, 25, 80)) for depth in (5.5, 10.5)]
    septa = Shell(patient.body, draw.between(6, 12), 0.6, waves(draw, 3, 2.5, 15, 40))
    return [
        Paint(patient.body, draw.between(20, 60)),
        Paint(patient.body, patient.fat, inset=1.8, texture=waves(draw, 3, 12, 12, 60)),
        Paint(septa, patient.fat + 45),
        Paint(patient.muscle, muscle, texture=waves(draw, 4, 26, 8, 40)),
        *(Paint(sheet, -45) for sheet in sheets),
        Paint(patient.cavity, patient.inner_fat, texture=waves(draw, 3, 10, 12, 60)),
    ]


def muscles(patient: Patient) -> list[Paint]:
    """Muscles along the spine: psoas, quadratus lumborum, and those that fill the hollow of the back."""
    draw, muscle = patient.draw, patient.hu["muscle"]
    texture = waves(draw, 4, 24, 8, 30)
    made: list[Paint] = []
    bulk = draw.between(0.85, 1.15)
    for side in (-1, 1):
        y = patient.bones.spine_point(-120)[1]
        psoas = [(side * 24, y + 8, -52), (side * 38, y + 6, -110), (side * 50, y - 4, -180), (side * 58, y - 22, -250)]
        for (a, b), (ra, rb) in zip(pairwise(psoas), ((6, 16), (16, 20), (20, 17)), strict=True):
            made.append(Paint(Capsule(a, b, ra * bulk, rb * bulk), muscle, 0, texture=texture))
        quadratus = Capsule((side * 54, 76, -62), (side * 72, 74, -190), 8 * bulk, 10 * bulk, (0.55, 1, 1))
        made.append(Paint(quadratus, muscle, 0, texture=texture))
        back = Ellipsoid((side * 34, 94, -20), (30, 21, 400))
        made.append(Paint(back, muscle, 0, texture=texture, within=patient.muscle, margin=3))
        made.append(Paint(Shell(back, 0, 1.6, waves(draw, 2, 1.5, 30, 60)), -50, within=patient.muscle, margin=3))
    return made
