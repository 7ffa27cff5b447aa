"""Organs of the abdomen, and the vessels that run through it."""

from itertools import pairwise

from DinoUNetCore.dataset.torso.body import AIR, PHANTOM_LABELS, WATER, Patient, tube
from DinoUNetCore.dataset.torso.canvas import Paint, Shape
from DinoUNetCore.dataset.torso.draw import rotation, waves
from DinoUNetCore.dataset.torso.shapes import Capsule, Cut, Ellipsoid, HalfSpace, Union


def bowel(patient: Patient) -> list[Paint]:
    """The colon's frame with stool and gas, and loops of small bowel inside it."""
    draw, wall = patient.draw, patient.hu["gut wall"]
    front = patient.cavity.front
    colon = [(-98, 8, -205), (-100, 14, -150), (-88, -28, -128), (-45, -front + 26, -140)]
    colon += [(15, -front + 24, -146), (62, -front + 30, -118), (98, 14, -84), (106, 20, -130), (102, 14, -210)]
    colon = [draw.near(point, 5) for point in colon]
    pieces: list[tuple[Shape, float]] = []
    haustra = waves(draw, 3, 6, 24, 40)
    for a, b in pairwise(colon):
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
    made = [Paint(s, wall, within=patient.cavity, margin=4) for s, _ in loops]
    made += [Paint(s, draw.between(10, 40), None, 3, within=patient.cavity, margin=6) for s, _ in loops]
    made += [Paint(s, wall, within=patient.cavity, margin=4) for s, _ in pieces]
    stool = waves(draw, 5, 150, 6, 22)
    made += [Paint(s, -30, None, 2.6, stool, within=patient.cavity, margin=6) for s, _ in pieces]
    made += [Paint(s, AIR, None, 3.2, gas_level=s.box[0][1] - up, within=patient.cavity, margin=7) for s, up in pieces]
    return made


def upper_abdomen(patient: Patient) -> list[Paint]:
    draw, hu = patient.draw, patient.hu
    inner = [patient.cavity]
    # liver: the right dome's filling and the left lobe, cut by the plane that faces the bowel
    drop = draw.between(-14, 10)
    right = Ellipsoid((-62, -4, -74), (82, 88, 81), None, waves(draw, 2, 3, 60, 120))
    left = Ellipsoid((10, -44, -30 + drop * 0.3), (draw.between(56, 76), 34, 27), rotation(0.1, -0.12, 0.06))
    under = HalfSpace((-40, -6, -88 + drop), (0.62, 0.34, -0.78), waves(draw, 2, 9, 60, 120))
    liver = Cut(Union([right, left], 22, waves(draw, 2, 3, 40, 80)), [*inner, under], 4, blend=16)
    liver = Cut(liver, [patient.domes], 4)
    tree: list[Paint] = []
    hilum = (-22, -2, -62)
    for root, way in ((hilum, (-1, -0.2, 0.3)), (hilum, (-0.7, 0.6, -0.3)), (hilum, (0.5, -1, 0.6))):
        _liver_vessel(patient, tree, liver, root, way, 40, 6.2, hu["portal"], 0)
    for way in ((-1, 0.3, -0.6), (-0.8, -0.7, -0.5), (0.3, -1, -0.4)):
        _liver_vessel(patient, tree, liver, (-20, 28, -8), way, 42, 5.2, (hu["veins"] + hu["portal"]) / 2, 0)
    gallbladder = Ellipsoid(draw.near((-46, -42, -88), 5), (13, 17, 25), rotation(0.2, 0, 0))

    stomach = _stomach(patient)
    spleen_body = Ellipsoid(
        draw.near((98, 34, -44), 3),
        (draw.between(40, 48), draw.between(50, 60), draw.between(48, 62)),
        rotation(-0.15, 0, 0.1),
        waves(draw, 2, 3, 40, 80),
    )
    hollow = Ellipsoid((50, 0, -50), (44, 46, 66))
    spleen = Cut(Cut(spleen_body, [*inner], 5, [hollow], blend=8), [patient.domes], 3)
    pancreas = [(-32, 4, -98), (-6, -10, -88), (30, 4, -76), (66, 26, -62)]
    glands = [
        Paint(Capsule(a, b, 12, 10, (1, 1, 0.8)), hu["pancreas"], 0, texture=waves(draw, 4, 40, 8, 16))
        for a, b in pairwise(pancreas)
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


def _liver_vessel(patient: Patient, paints, liver, start, way, length, radius, value, depth) -> None:
    norm = (way[0] ** 2 + way[1] ** 2 + way[2] ** 2) ** 0.5
    end = tuple(s + w / norm * length for s, w in zip(start, way, strict=True))
    paints.append(Paint(Capsule(start, end, radius, radius * 0.7), value, within=liver, margin=4))
    if depth == 3:
        return
    for _ in range(2):
        turn = patient.draw.direction()
        child = tuple(w / norm + 0.7 * t for w, t in zip(way, turn, strict=True))
        _liver_vessel(patient, paints, liver, end, child, length * 0.72, radius * 0.68, value, depth + 1)


def _stomach(patient: Patient) -> list[Paint]:
    draw = patient.draw
    full = draw.between(0.75, 1.1)
    centres = [(54, 12, -32), (58, -14, -58), (44, -40, -82), (10, -44, -98), (-18, -28, -96)]
    radii = [34 * full, 31 * full, 25 * full, 18 * full, 12]
    centres = [draw.near(point, 4) for point in centres]
    parts = [Capsule(a, b, ra, rb) for a, b, ra, rb in zip(centres, centres[1:], radii, radii[1:], strict=False)]
    stomach = Cut(Union(parts, 10, waves(draw, 2, 3, 30, 70)), [patient.cavity, patient.domes], 4)
    label, level = PHANTOM_LABELS["stomach"], draw.between(-52, -24)
    content = draw.choice((WATER, 25, 45, 180))
    return [
        Paint(stomach, patient.hu["gut wall"], label, texture=waves(draw, 3, 8, 8, 20)),
        Paint(stomach, content, None, 4.0, waves(draw, 4, draw.between(5, 30), 8, 30)),
        Paint(stomach, AIR, None, 4.5, gas_level=level),
    ]


def kidneys(patient: Patient) -> list[Paint]:
    draw, hu = patient.draw, patient.hu
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
        fat = patient.inner_fat
        made += [
            Paint(kidney, hu["cortex"], PHANTOM_LABELS[name]),
            Paint(pyramids, hu["medulla"], None, rim, within=kidney, margin=5),
            Paint(core, fat + 25, None, texture=waves(draw, 2, 30, 8, 14)),
            Paint(hilum, fat, 0),
            Paint(pelvis, draw.between(8, 25), 0),
        ]
    return made


def vessels(patient: Patient) -> list[Paint]:
    draw, hu = patient.draw, patient.hu
    spine = patient.bones.spine_point
    size = draw.between(0.85, 1.15)
    down = [(spine(z)[0] + 20, spine(z)[1] - 22 + (8 if z > 40 else 0), z) for z in (120, 80, 40)]
    down += [(spine(z)[0] + 9, spine(z)[1] - 30, z) for z in (-10, -60, -110, -160, -182)]
    root, arch = (2, -14, 74), [(-16, -24, 106), (-12, -22, 134), (4, -6, 148), (18, 16, 144), (22, 28, 134)]
    path = [root, *arch, *down]
    cava = [(-24, 12, 30), (-24, 18, -10), *((spine(z)[0] - 17, spine(z)[1] - 26, z) for z in (-60, -110, -160, -190))]
    x, y, z = path[-1]
    celiac, mesenteric = spine(-62), spine(-86)
    made = tube(cava, 11 * size, hu["veins"], 0)
    made += tube([(-22, -2, -62), (-14, -6, -82), (2, -14, -88), (40, 6, -72), (80, 26, -52)], 6, hu["portal"], 0)
    made += tube([(2, -16, -88), (4, -30, -130), (0, -34, -190)], 5, hu["portal"], 0)
    for side, height in ((-1, -94), (1, -86)):
        start = (spine(height)[0] + 9, spine(height)[1] - 30, height)
        made += tube([start, (side * 30, 36, height), (side * 50, 38, height)], 3.2, hu["aorta"], 0)
        start = (spine(height)[0] - 17, spine(height)[1] - 32, height - 6)
        made += tube([start, (side * 34, 22, height - 5), (side * 50, 34, height - 5)], 5, hu["veins"], 0)
        made += tube([(x, y, z), (x + side * 26, y + 4, z - 40), (side * 52, y + 8, z - 75)], 6.5, hu["aorta"], 0)
        made += tube([(-14, y + 4, z - 6), (side * 34, y + 14, z - 50)], 8, hu["veins"], 0)
    made += tube([(celiac[0] + 9, celiac[1] - 38, -62), (4, -6, -66), (-20, -8, -62)], 3.6, hu["aorta"], 0)
    made += tube([(mesenteric[0] + 9, mesenteric[1] - 38, -86), (10, -18, -110), (8, -30, -190)], 3.6, hu["aorta"], 0)
    for _ in range(16):
        point = (draw.between(-50, 50), draw.between(-50, 0), draw.between(-200, -120))
        made += tube([(4, -28, -125), point], 1.6, hu["portal"])
    made += tube(path[:7], 15 * size, hu["aorta"], PHANTOM_LABELS["aorta"], 1.4, 50)
    made += tube(path[6:], 11.5 * size, hu["aorta"], PHANTOM_LABELS["aorta"], 1.2, 50)
    for top in ((-14, -4, 215), (6, 6, 215), (24, 14, 215)):
        made += tube([(top[0] * 0.8, top[1], 150), top], 5, hu["aorta"], 0)
    return made
