"""Bones of the phantom: spine, ribs, breastbone, shoulder blades and hip bones, as strokes to paint."""

from itertools import pairwise

from DinoUNetCore.dataset.torso.canvas import Paint, Shape
from DinoUNetCore.dataset.torso.draw import Draw, rotation, waves
from DinoUNetCore.dataset.torso.shapes import Capsule, Cut, Ellipsoid, HalfSpace, Trunk, Union

RIBS = 11
LEVELS = 20  # vertebrae from the second thoracic one to the sacrum's first
FIRST_LEVEL = 196.0  # z of the uppermost vertebra's centre


class Bones:
    """One patient's bone: a dense cortex of `cortex` HU around spongy bone, and the curve of the spine."""

    def __init__(self, draw: Draw, spine_label: int):
        self.draw, self.label = draw, spine_label
        self.cortex = draw.between(480, 800)
        self.spongy = draw.between(150, 300)
        self.texture = waves(draw, 4, 60, 5, 11)
        self.bend = draw.between(-7, 7)  # of the spine to one side
        self.curve = draw.between(0.8, 1.2)

    def spine_point(self, z: float) -> tuple[float, float, float]:
        """Centre of the vertebral column at the height z: hollow at the chest, forward at the loins."""
        along = max(min((z - 75) / 125, 1.3), -2.2)
        back = (
            7 * (1 - along * along)
            if z > 75
            else 7 - 20 * min((75 - z) / 180, 1) ** 2 * (3 - 2 * min((75 - z) / 180, 1))
        )
        return self.bend * (1 - abs(z) / 200), 50 + back * self.curve, z

    def bone(
        self, shapes: list[Shape], label: int | None = None, wall: float = 2.0, plain: bool = False
    ) -> list[Paint]:
        """All cortex first, then all spongy bone, so that joints have no wall inside."""
        outer = [Paint(shape, self.cortex, label) for shape in shapes]
        inner = [Paint(shape, self.spongy, None, wall, () if plain else self.texture) for shape in shapes]
        return outer + inner


def levels() -> list[tuple[float, float, float]]:
    """(z of the centre, height of the body, size relative to a lumbar vertebra), from the head down."""
    made, z = [], FIRST_LEVEL
    for level in range(LEVELS):
        size = 0.62 + 0.38 * min(level / (LEVELS - 4), 1)
        height = 17 + 11 * min(level / (LEVELS - 5), 1)
        made.append((z, height, size))
        z -= height + 3.5 + 5 * min(level / (LEVELS - 5), 1)
    return made


def vertebra(bones: Bones, z: float, height: float, size: float) -> list[Paint]:
    draw = bones.draw
    x, y, _ = bones.spine_point(z)
    _, y_below, _ = bones.spine_point(z - 10)
    tilt = (y_below - y) / 10  # the end plates stand square to the curve of the spine
    wide, deep = 24.5 * size, 18.0 * size
    column = Ellipsoid((x, y, z), (wide, deep, 3.2 * height))
    top, bottom = HalfSpace((x, y, z + height / 2), (0, tilt, 1)), HalfSpace((x, y, z - height / 2), (0, -tilt, -1))
    body = Cut(column, inside=[top, bottom])
    body.box = ((x, y, z), (wide, deep, height / 2 + abs(tilt) * deep + 2))

    def place(side: float, dx: float, dy: float, dz: float) -> tuple[float, float, float]:
        return x + side * dx * size, y + dy * size, z + dz * size

    lumbar = z < -25
    arch: list[Shape] = []
    for side in (-1, 1):
        arch.append(Capsule(place(side, 14, 12, 5), place(side, 16, 30, 3), 4.6 * size, 4.6 * size, (1, 1, 0.65)))
        arch.append(Capsule(place(side, 16, 32, 2), place(side, 2, 43, -6), 3.4 * size, 3.2 * size, (1, 1, 0.5)))
        reach = draw.around(40 if lumbar else 37, 0.05)
        lift = 0 if lumbar else 4
        arch.append(
            Capsule(place(side, 17, 29, 2), place(side, reach, 32 if lumbar else 40, lift), 5 * size, 3.2 * size)
        )
        arch.append(Capsule(place(side, 17, 33, 12), place(side, 15, 35, -14), 5.2 * size, 4.6 * size))
    slope = -6 if lumbar else -26
    arch.append(
        Capsule(place(0, 0, 44, -5), place(0, 0, 68 if lumbar else 62, slope), 3.6 * size, 4.2 * size, (1, 1, 0.45))
    )
    paints = bones.bone(arch, bones.label, 1.8, plain=True)
    return [
        *paints,
        Paint(body, bones.cortex * 0.8, bones.label),
        Paint(body, bones.spongy, None, 1.6, bones.texture),
    ]


def spine(bones: Bones) -> list[Paint]:
    """Discs under the vertebrae, the arches, and the spinal canal through all of them."""
    paints: list[Paint] = []
    canal: list[Paint] = []
    column = levels()
    for z, height, size in column:
        below = z - height / 2 - 9
        a, b = bones.spine_point(z + height / 2), bones.spine_point(below)
        disc = Capsule((a[0], a[1], z), (b[0], b[1], below), 22.5 * size, 22.5 * size, (1, 1.36, 1))
        disc.box = (disc.box[0], (24, 24, abs(z - below) / 2 + 1))
        ends = [HalfSpace((0, 0, z), (0, 0, 1)), HalfSpace((0, 0, below), (0, 0, -1))]
        paints.append(Paint(Cut(disc, inside=ends), 85, bones.label))
        back = 26.5 * size
        start, end = (a[0], a[1] + back, z + height / 2 + 4), (b[0], b[1] + back, below)
        radius = 8.6 * (0.55 + 0.45 * size)
        canal.append(Paint(Capsule(start, end, radius + 1.5, radius + 1.5, (0.8, 1, 1)), -30, 0))
        canal.append(Paint(Capsule(start, end, radius - 0.8, radius - 0.8, (0.85, 1, 1)), 16, 0))
        if z > -75:
            canal.append(Paint(Capsule(start, end, 4.6, 4.6, (0.85, 1, 1)), 42, 0))
    for z, height, size in column:
        paints += vertebra(bones, z, height, size)
    return paints + canal


def _on_wall(cavity: Trunk, sine: float, cosine: float, z: float, out: float) -> tuple[float, float, float]:
    """The point of the chest's inner wall in a direction from the back (cosine 1) to a side, `out` mm further out."""
    over = max(z - cavity.top, 0) / cavity.dome
    fit = max(1 - over * over, 0.12) ** 0.5 / cavity.norm(sine * cavity.width, cosine * cavity.back)
    x, y = sine * cavity.width * fit, cosine * cavity.back * fit
    length = (x * x + y * y) ** 0.5
    return x * (1 + out / length), y * (1 + out / length), z


def ribs(bones: Bones, cavity: Trunk) -> list[Paint]:
    """Ribs slope down from the spine around the chest; cartilage joins the upper ones to the breastbone."""
    draw = bones.draw
    bony: list[Shape] = []
    soft: list[Paint] = []
    cartilage = draw.between(80, 150)
    for number, (z, _, size) in enumerate(levels()[:RIBS]):
        drop = 44 + 4.5 * min(number, 7) + draw.between(-3, 3)
        steps = 12 if number < 8 else 12 - 2 * (number - 7)
        for side in (-1, 1):
            x, y, _ = bones.spine_point(z)
            points = [(x + side * 20 * size, y + 20 * size, z + 4), (x + side * 38 * size, y + 33 * size, z + 2)]
            for step in range(steps):
                t = 0.36 + 0.145 * step + 0.012 * step * step  # tangent of half the angle from the back
                sine, cosine = 2 * t / (1 + t * t), (1 - t * t) / (1 + t * t)
                height = z - drop * (1 - cosine) / 1.8
                points.append(_on_wall(cavity, side * sine, cosine, height, 6.0))
            for a, b in pairwise(points):
                bony.append(Capsule(a, b, 3.9, 3.9, (1, 1, 0.58)))
            if number < 8:
                end = points[-1]
                target = (side * 14, -cavity.front * 1.02, max(175 - 14 * number, 80))
                knee = (
                    end[0] * 0.62 + target[0] * 0.38,
                    end[1] * 0.35 + target[1] * 0.65,
                    end[2] * 0.8 + target[2] * 0.2,
                )
                for a, b in ((end, knee), (knee, target)):
                    soft.append(Paint(Capsule(a, b, 5.0, 4.6, (1, 1, 0.75)), cartilage))
    return soft + bones.bone(bony, wall=1.7, plain=True)


def breastbone(bones: Bones, cavity: Trunk) -> list[Paint]:
    y = -cavity.front
    plate = Capsule((0, y + 14, 172), (0, y + 1, 82), 8.5, 7.0, (0.42, 1, 1))
    tip = Capsule((0, y + 1, 82), (0, y - 1, 60), 4.5, 2.5, (0.5, 1, 1))
    return bones.bone([plate, tip], wall=1.6)


def shoulder_blades(bones: Bones) -> list[Paint]:
    blades: list[Shape] = []
    for side in (-1, 1):
        turn = rotation(0.05, 0.0, side * 0.3)
        blades.append(Ellipsoid((side * 98, 86, 152), (40, 4.4, 66), turn))
        blades.append(Capsule((side * 68, 104, 168), (side * 132, 84, 196), 4.5, 8.0))
    return bones.bone(blades, wall=1.6)


def hips(bones: Bones) -> list[Paint]:
    """The wings of the hip bones and the sacrum, seen where a volume reaches below the last lumbar vertebra."""
    lumps = waves(bones.draw, 2, 3, 40, 80)
    wings: list[Shape] = []
    for side in (-1, 1):
        turn = rotation(0.12, side * 0.22, side * 0.42)
        wings.append(Ellipsoid((side * 92, 42, -232), (66, 8.5, 62), turn, lumps))
    x, y, _ = bones.spine_point(-225)
    sacrum = Union([Ellipsoid((x, y + 16, -240), (50, 20, 42)), Ellipsoid((x, y + 34, -262), (36, 18, 40))], 12, lumps)
    return bones.bone([*wings, sacrum], wall=2.4)
