"""The phantom's patient: which shapes, where, and how bright, drawn from a seed.

The frame is the patient's: millimetres, x to the left, y to the back, z to the head, z = 0 near the tenth thoracic
vertebra. Strokes are in painting order: a later one covers an earlier one, as the liver covers the abdominal fat.
"""

from dataclasses import dataclass

from DinoUNetCore.dataset.phantom_shapes import (
    Capsule,
    Cut,
    Draw,
    Ellipsoid,
    HalfSpace,
    Paint,
    Shape,
    Shell,
    Table,
    Trunk,
    Union,
    Wave,
    rotation,
    waves,
)
from DinoUNetCore.dataset.phantom_skeleton import Bones, breastbone, hips, ribs, shoulder_blades, spine

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


@dataclass(frozen=True)
class Anatomy:
    """One patient on the table. A point p of the room (mm, relative to the patient) is turned by `turn`, divided by `scale`."""

    strokes: tuple[Paint, ...]
    warp: tuple[tuple[Wave, ...], tuple[Wave, ...], tuple[Wave, ...]]
    turn: tuple[tuple[float, float, float], ...]
    scale: tuple[float, float, float]
    place: tuple[float, float, float]  # of the patient's frame in the scanner's, mm
    half_width: float  # of the body in the room, mm
    half_depth: float


def make_anatomy(seed: int) -> Anatomy:
    """Draw a patient; nothing here depends on the image's grid."""
    draw = Draw(seed, 1)
    patient = _Patient(draw)
    strokes = [
        *patient.table(),
        *patient.wall(),
        *patient.lungs(),
        *patient.mediastinum(),
        *patient.muscles(),
        *patient.diaphragm(),
        *patient.bowel(),
        *patient.upper_abdomen(),
        *patient.kidneys(),
        *patient.vessels(),
        *patient.skeleton(),
    ]
    scale = (draw.between(0.93, 1.07), draw.between(0.93, 1.07), draw.between(0.94, 1.06))
    warp = tuple(waves(draw, 2, amplitude, 190, 380) for amplitude in (7, 5, 8))
    turn = rotation(draw.between(-0.025, 0.025), draw.between(-0.02, 0.02), draw.between(-0.05, 0.05))
    place = (draw.between(-12, 12), draw.between(-160, -120), draw.between(-900, 900))
    return Anatomy(
        tuple(strokes), warp, turn, scale, place, patient.body.width * scale[0], patient.body.back * scale[1]
    )


class _Patient:
    def __init__(self, draw: Draw):
        self.draw = draw
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

    def table(self) -> list[Paint]:
        top = self.body.back + self.draw.between(3, 7)
        return [Paint(Table(top, 212), -640), Paint(Table(top, 212), -955, inset=2.2)]

    def wall(self) -> list[Paint]:
        draw, muscle = self.draw, self.hu["muscle"]
        sheets = [Shell(self.muscle, depth, 1.6, waves(draw, 3, 2.4, 25, 80)) for depth in (5.5, 10.5)]
        septa = Shell(self.body, draw.between(6, 12), 0.6, waves(draw, 3, 2.5, 15, 40))
        return [
            Paint(self.body, draw.between(20, 60)),
            Paint(self.body, self.fat, inset=1.8, texture=waves(draw, 3, 12, 12, 60)),
            Paint(septa, self.fat + 45),
            Paint(self.muscle, muscle, texture=waves(draw, 4, 26, 8, 40)),
            *(Paint(sheet, -45) for sheet in sheets),
            Paint(self.cavity, self.inner_fat, texture=waves(draw, 3, 10, 12, 60)),
        ]

    def lungs(self) -> list[Paint]:
        draw = self.draw
        density = draw.between(-880, -820)
        paints: list[Paint] = []
        for side, name in ((1, "lung_left"), (-1, "lung_right")):
            floor = HalfSpace((0, 0, draw.between(-46, -32)), (0, -0.5, -1))
            middle = HalfSpace((side * 2, 0, 0), (-side, 0, 0))
            half = Cut(self.cavity, inside=[floor])
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
            for _ in range(9):
                self._branch(paints, lung, hilum, self._outward(side), draw.between(38, 50), draw.between(4.5, 6.5), 0)
            for _ in range(4):
                end = [h + 42 * d for h, d in zip(hilum, self._outward(side), strict=True)]
                airway = Capsule(hilum, end, 4.6, 2.4)
                paints.append(Paint(airway, 10, within=lung, margin=3))
                paints.append(Paint(airway, -960, inset=1.5, within=lung, margin=3))
        return paints

    def _outward(self, side: int) -> tuple[float, float, float]:
        x, y, z = self.draw.direction()
        return side * (abs(x) + 0.25), y, z * 1.2

    def _branch(self, paints, lung, start, way, length, radius, depth) -> None:
        """Vessels of the lung fork five times, thinner and shorter each time."""
        norm = (way[0] ** 2 + way[1] ** 2 + way[2] ** 2) ** 0.5
        end = tuple(s + w / norm * length for s, w in zip(start, way, strict=True))
        vessel = Capsule(start, end, radius, radius * 0.72)
        paints.append(Paint(vessel, self.hu["right heart"] * 0.8, within=lung, margin=3))
        if depth == 4:
            return
        for _ in range(2):
            turn = self.draw.direction()
            child = tuple(w / norm + 0.75 * t for w, t in zip(way, turn, strict=True))
            self._branch(paints, lung, end, child, length * self.draw.between(0.62, 0.85), radius * 0.68, depth + 1)

    def mediastinum(self) -> list[Paint]:
        draw, hu, label = self.draw, self.hu, PHANTOM_LABELS["heart"]
        c = draw.near((22, -28, 52), 4)
        axes = rotation(draw.between(0.1, 0.2), draw.between(0.1, 0.22), draw.between(0.3, 0.42))
        size = draw.around(1, 0.08)
        heart = Ellipsoid(c, (66 * size, 44 * size, 47 * size), axes, waves(draw, 2, 2.5, 60, 110))
        around = Ellipsoid((c[0] - 3, c[1] - 2, c[2] + 5), (73 * size, 51 * size, 60 * size), axes)
        column = Ellipsoid((0, 6, 95), (32, 78, 170))
        front = Ellipsoid((2, -52, 110), (19, 48, 90))
        space = Cut(Union([around, column, front], 22, waves(draw, 2, 4, 40, 90)), inside=[self.cavity], margin=1)

        def chamber(offset, radii, value, spread=0.08):
            centre = [m + o * size for m, o in zip(c, offset, strict=True)]
            shape = Ellipsoid(centre, [r * size for r in radii], axes, waves(draw, 2, 3, 25, 60))
            return Paint(shape, draw.around(value, spread), within=heart, margin=4, texture=waves(draw, 2, 8, 20, 50))

        return [
            Paint(space, self.inner_fat, 0, texture=waves(draw, 3, 14, 10, 40)),
            Paint(heart, hu["myocardium"], label),
            chamber((17, 4, -8), (35, 17, 19), hu["left heart"]),
            chamber((2, -28, -8), (42, 14, 24), hu["right heart"]),
            chamber((-38, 0, 2), (20, 24, 28), hu["right heart"]),
            chamber((-14, 31, 16), (29, 14, 19), hu["left heart"]),
            *self._tube([(6, -20, 84), (14, -28, 104), (22, -10, 118), (20, 6, 116)], 14, hu["right heart"]),
            *self._tube([(18, 2, 114), (-12, -4, 108), (-40, 4, 92)], 10.5, hu["right heart"]),
            *self._tube([(22, 6, 114), (40, 12, 100)], 10.5, hu["right heart"]),
            *self._tube([(-24, -16, 60), (-27, -12, 110), (-25, -14, 165), (-38, -22, 190)], 10, hu["right heart"]),
            *self._tube([(5, 30, 190), (10, 30, 120), (16, 22, 40), (20, 0, -8)], 7.5, 45),
            *self._airways(),
        ]

    def _tube(self, points, radius, value, label=None, wall=0.0, wall_value=0.0) -> list[Paint]:
        """A vessel through `points`; with a wall, all of the wall is painted first."""
        pieces = [Capsule(a, b, radius, radius) for a, b in zip(points, points[1:], strict=False)]
        outer = [Paint(piece, wall_value, label) for piece in pieces] if wall else []
        return outer + [Paint(piece, value, label, wall) for piece in pieces]

    def _airways(self) -> list[Paint]:
        carina = (-1, 18, 112)
        tubes = [Capsule((-2, 10, 215), carina, 10.5, 10), Capsule(carina, (-36, 8, 92), 8.5, 7)]
        tubes.append(Capsule(carina, (36, 8, 88), 8, 6.5))
        return [Paint(t, 30, 0) for t in tubes] + [Paint(t, AIR, None, 1.7) for t in tubes]

    def muscles(self) -> list[Paint]:
        """Muscles along the spine: psoas, quadratus lumborum, and those that fill the hollow of the back."""
        draw, muscle = self.draw, self.hu["muscle"]
        texture = waves(draw, 4, 24, 8, 30)
        made: list[Paint] = []
        bulk = draw.between(0.85, 1.15)
        for side in (-1, 1):
            y = self.bones.spine_point(-120)[1]
            psoas = [(side * 24, y + 8, -52), (side * 38, y + 6, -110), (side * 50, y - 4, -180), (side * 58, y - 22, -250)]
            for (a, b), (ra, rb) in zip(
                zip(psoas, psoas[1:], strict=False), ((6, 16), (16, 20), (20, 17)), strict=True
            ):
                made.append(Paint(Capsule(a, b, ra * bulk, rb * bulk), muscle, 0, texture=texture))
            quadratus = Capsule((side * 54, 76, -62), (side * 72, 74, -190), 8 * bulk, 10 * bulk, (0.55, 1, 1))
            made.append(Paint(quadratus, muscle, 0, texture=texture))
            back = Ellipsoid((side * 34, 94, -20), (30, 21, 400))
            made.append(Paint(back, muscle, 0, texture=texture, within=self.muscle, margin=3))
            made.append(Paint(Shell(back, 0, 1.6, waves(draw, 2, 1.5, 30, 60)), -50, within=self.muscle, margin=3))
        return made

    def diaphragm(self) -> list[Paint]:
        floor = HalfSpace((0, 0, -95), (0, 0, -1))
        domes = Cut(self.domes, inside=[self.cavity, floor], margin=1)
        return [
            Paint(domes, self.hu["muscle"], 0),
            Paint(domes, self.inner_fat, 0, 3.2, waves(self.draw, 3, 12, 10, 50)),
        ]

    def bowel(self) -> list[Paint]:
        """The colon's frame with stool and gas, and loops of small bowel inside it."""
        draw, wall = self.draw, self.hu["gut wall"]
        front = self.cavity.front
        colon = [(-98, 8, -205), (-100, 14, -150), (-88, -28, -128), (-45, -front + 26, -140)]
        colon += [(15, -front + 24, -146), (62, -front + 30, -118), (98, 14, -84), (106, 20, -130), (102, 14, -210)]
        colon = [draw.near(point, 5) for point in colon]
        pieces: list[tuple[Shape, float]] = []
        haustra = waves(draw, 3, 6, 24, 40)
        for a, b in zip(colon, colon[1:], strict=False):
            tube = Union([Capsule(a, b, draw.between(15, 21), draw.between(15, 21))], 0, haustra)
            pieces.append((tube, draw.between(0, 9)))
        loops: list[tuple[Shape, float]] = []
        for _ in range(11):
            point = (draw.between(-62, 62), draw.between(-front + 26, -8), draw.between(-225, -118))
            for _ in range(4):
                step = draw.direction()
                goal = [p + 34 * s for p, s in zip(point, step, strict=True)]
                goal = (
                    max(min(goal[0], 72), -72),
                    max(min(goal[1], 4), -front + 24),
                    max(min(goal[2], -112), -240),
                )
                loops.append((Capsule(point, goal, draw.between(9, 13), draw.between(9, 13)), draw.between(-60, 2)))
                point = goal
        made = [Paint(s, wall, within=self.cavity, margin=4) for s, _ in loops]
        made += [Paint(s, draw.between(10, 40), None, 3, within=self.cavity, margin=6) for s, _ in loops]
        made += [Paint(s, wall, within=self.cavity, margin=4) for s, _ in pieces]
        stool = waves(draw, 5, 150, 6, 22)
        made += [Paint(s, -30, None, 2.6, stool, within=self.cavity, margin=6) for s, _ in pieces]
        made += [Paint(s, AIR, None, 3.2, gas_level=s.box[0][1] - up, within=self.cavity, margin=7) for s, up in pieces]
        return made

    def upper_abdomen(self) -> list[Paint]:
        draw, hu = self.draw, self.hu
        inner = [self.cavity]
        # liver: the right dome's filling and the left lobe, cut by the plane that faces the bowel
        drop = draw.between(-14, 10)
        right = Ellipsoid((-62, -4, -74), (82, 88, 81), None, waves(draw, 2, 3, 60, 120))
        left = Ellipsoid((10, -44, -30 + drop * 0.3), (draw.between(56, 76), 34, 27), rotation(0.1, -0.12, 0.06))
        under = HalfSpace((-40, -6, -88 + drop), (0.62, 0.34, -0.78), waves(draw, 2, 9, 60, 120))
        liver = Cut(Union([right, left], 22, waves(draw, 2, 3, 40, 80)), [*inner, under], 4, blend=16)
        liver = Cut(liver, [self.domes], 4)
        tree: list[Paint] = []
        hilum = (-22, -2, -62)
        for root, way in ((hilum, (-1, -0.2, 0.3)), (hilum, (-0.7, 0.6, -0.3)), (hilum, (0.5, -1, 0.6))):
            self._liver_vessel(tree, liver, root, way, 40, 6.2, hu["portal"], 0)
        for way in ((-1, 0.3, -0.6), (-0.8, -0.7, -0.5), (0.3, -1, -0.4)):
            self._liver_vessel(tree, liver, (-20, 28, -8), way, 42, 5.2, (hu["veins"] + hu["portal"]) / 2, 0)
        gallbladder = Ellipsoid(draw.near((-46, -42, -88), 5), (13, 17, 25), rotation(0.2, 0, 0))

        stomach = self._stomach()
        spleen_body = Ellipsoid(
            draw.near((98, 34, -44), 3),
            (draw.between(40, 48), draw.between(50, 60), draw.between(48, 62)),
            rotation(-0.15, 0, 0.1),
            waves(draw, 2, 3, 40, 80),
        )
        hollow = Ellipsoid((50, 0, -50), (44, 46, 66))
        spleen = Cut(Cut(spleen_body, [*inner], 5, [hollow], blend=8), [self.domes], 3)
        pancreas = [(-32, 4, -98), (-6, -10, -88), (30, 4, -76), (66, 26, -62)]
        glands = [
            Paint(Capsule(a, b, 12, 10, (1, 1, 0.8)), hu["pancreas"], 0, texture=waves(draw, 4, 40, 8, 16))
            for a, b in zip(pancreas, pancreas[1:], strict=False)
        ]
        return [
            *glands,
            *stomach,
            Paint(spleen, hu["spleen"], PHANTOM_LABELS["spleen"], texture=waves(draw, 3, 8, 12, 40)),
            Paint(liver, hu["liver"], PHANTOM_LABELS["liver"], texture=waves(draw, 4, 8, 12, 60)),
            *tree,
            Paint(gallbladder, 45, 0),
            Paint(gallbladder, WATER, 0, 2),
        ]

    def _liver_vessel(self, paints, liver, start, way, length, radius, value, depth) -> None:
        norm = (way[0] ** 2 + way[1] ** 2 + way[2] ** 2) ** 0.5
        end = tuple(s + w / norm * length for s, w in zip(start, way, strict=True))
        paints.append(Paint(Capsule(start, end, radius, radius * 0.7), value, within=liver, margin=4))
        if depth == 3:
            return
        for _ in range(2):
            turn = self.draw.direction()
            child = tuple(w / norm + 0.7 * t for w, t in zip(way, turn, strict=True))
            self._liver_vessel(paints, liver, end, child, length * 0.72, radius * 0.68, value, depth + 1)

    def _stomach(self) -> list[Paint]:
        draw = self.draw
        full = draw.between(0.75, 1.1)
        centres = [(54, 12, -32), (58, -14, -58), (44, -40, -82), (10, -44, -98), (-18, -28, -96)]
        radii = [34 * full, 31 * full, 25 * full, 18 * full, 12]
        centres = [draw.near(point, 4) for point in centres]
        parts = [
            Capsule(a, b, ra, rb)
            for a, b, ra, rb in zip(centres, centres[1:], radii, radii[1:], strict=False)
        ]
        stomach = Cut(Union(parts, 10, waves(draw, 2, 3, 30, 70)), [self.cavity, self.domes], 4)
        label, level = PHANTOM_LABELS["stomach"], draw.between(-52, -24)
        content = draw.choice((WATER, 25, 45, 180))
        return [
            Paint(stomach, self.hu["gut wall"], label, texture=waves(draw, 3, 8, 8, 20)),
            Paint(stomach, content, None, 4.0, waves(draw, 4, draw.between(5, 60), 8, 30)),
            Paint(stomach, AIR, None, 4.5, gas_level=level),
        ]

    def kidneys(self) -> list[Paint]:
        draw, hu = self.draw, self.hu
        made: list[Paint] = []
        for side, name, z in ((-1, "kidney_right", -94), (1, "kidney_left", -82)):
            c = draw.near((side * 66, 42, z), 4)
            radii = (draw.around(28, 0.08), draw.around(25, 0.08), draw.around(52, 0.08))
            turn = rotation(draw.between(0.02, 0.1), side * draw.between(0.06, 0.14), -side * draw.between(0.15, 0.3))
            kidney = Ellipsoid(c, radii, turn, waves(draw, 2, 2, 30, 60))
            hilum = Ellipsoid((c[0] - side * 19, c[1] - 8, c[2]), (17, 10, 17), turn, waves(draw, 2, 4, 14, 30))
            core = Ellipsoid((c[0] - side * 6, c[1] - 3, c[2]), (radii[0] * 0.4, radii[1] * 0.36, radii[2] * 0.56), turn)
            pelvis = Ellipsoid((c[0] - side * 14, c[1] - 6, c[2] - 2), (10, 5, 8), turn)
            pyramids = Union([kidney], 0, waves(draw, 3, 7, 16, 26))
            rim = draw.between(7.5, 9.5)
            fat = self.inner_fat
            made += [
                Paint(kidney, hu["cortex"], PHANTOM_LABELS[name]),
                Paint(pyramids, hu["medulla"], None, rim, within=kidney, margin=5),
                Paint(core, fat + 25, None, texture=waves(draw, 2, 30, 8, 14)),
                Paint(hilum, fat, 0),
                Paint(pelvis, draw.between(8, 25), 0),
            ]
        return made

    def vessels(self) -> list[Paint]:
        draw, hu = self.draw, self.hu
        spine = self.bones.spine_point
        size = draw.between(0.85, 1.15)
        down = [(spine(z)[0] + 20, spine(z)[1] - 22 + (8 if z > 40 else 0), z) for z in (120, 80, 40)]
        down += [(spine(z)[0] + 9, spine(z)[1] - 30, z) for z in (-10, -60, -110, -160, -182)]
        root, arch = (2, -14, 74), [(-16, -24, 106), (-12, -22, 134), (4, -6, 148), (18, 16, 144), (22, 28, 134)]
        path = [root, *arch, *down]
        cava = [(-24, 12, 30), (-24, 18, -10), *((spine(z)[0] - 17, spine(z)[1] - 26, z) for z in (-60, -110, -160, -190))]
        x, y, z = path[-1]
        celiac, mesenteric = spine(-62), spine(-86)
        made = self._tube(cava, 11 * size, hu["veins"], 0)
        made += self._tube([(-22, -2, -62), (-14, -6, -82), (2, -14, -88), (40, 6, -72), (80, 26, -52)], 6, hu["portal"], 0)
        made += self._tube([(2, -16, -88), (4, -30, -130), (0, -34, -190)], 5, hu["portal"], 0)
        for side, height in ((-1, -94), (1, -86)):
            start = (spine(height)[0] + 9, spine(height)[1] - 30, height)
            made += self._tube([start, (side * 30, 36, height), (side * 50, 38, height)], 3.2, hu["aorta"], 0)
            start = (spine(height)[0] - 17, spine(height)[1] - 32, height - 6)
            made += self._tube([start, (side * 34, 22, height - 5), (side * 50, 34, height - 5)], 5, hu["veins"], 0)
            made += self._tube([(x, y, z), (x + side * 26, y + 4, z - 40), (side * 52, y + 8, z - 75)], 6.5, hu["aorta"], 0)
            made += self._tube([(-14, y + 4, z - 6), (side * 34, y + 14, z - 50)], 8, hu["veins"], 0)
        made += self._tube([(celiac[0] + 9, celiac[1] - 38, -62), (4, -6, -66), (-20, -8, -62)], 3.6, hu["aorta"], 0)
        made += self._tube([(mesenteric[0] + 9, mesenteric[1] - 38, -86), (10, -18, -110), (8, -30, -190)], 3.6, hu["aorta"], 0)
        for _ in range(16):
            point = (draw.between(-50, 50), draw.between(-50, 0), draw.between(-200, -120))
            made += self._tube([(4, -28, -125), point], 1.6, hu["portal"])
        made += self._tube(path[:7], 15 * size, hu["aorta"], PHANTOM_LABELS["aorta"], 1.4, 50)
        made += self._tube(path[6:], 11.5 * size, hu["aorta"], PHANTOM_LABELS["aorta"], 1.2, 50)
        for top in ((-14, -4, 215), (6, 6, 215), (24, 14, 215)):
            made += self._tube([(top[0] * 0.8, top[1], 150), top], 5, hu["aorta"], 0)
        return made

    def skeleton(self) -> list[Paint]:
        bones = self.bones
        return [
            *shoulder_blades(bones),
            *ribs(bones, self.cavity),
            *breastbone(bones, self.cavity),
            *hips(bones, waves(self.draw, 2, 3, 40, 80)),
            *spine(bones),
        ]
