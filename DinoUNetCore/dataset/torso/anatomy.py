"""The phantom's patient: which shapes, where, and how bright, drawn from a seed.

The frame is the patient's: millimetres, x to the left, y to the back, z to the head, z = 0 near the tenth thoracic
vertebra. Strokes are in painting order: a later one covers an earlier one, as the liver covers the abdominal fat.
"""

from dataclasses import dataclass

from DinoUNetCore.dataset.torso import abdomen, body, chest, skeleton
from DinoUNetCore.dataset.torso.canvas import Paint
from DinoUNetCore.dataset.torso.draw import Draw, Wave, rotation, waves


@dataclass(frozen=True)
class Anatomy:
    """One patient on the table. A point of the room, relative to `place`, is turned by `turn`, divided by `scale`."""

    strokes: tuple[Paint, ...]
    warp: tuple[tuple[Wave, ...], tuple[Wave, ...], tuple[Wave, ...]]
    turn: tuple[tuple[float, float, float], ...]
    scale: tuple[float, float, float]
    place: tuple[float, float, float]  # of the patient's frame in the scanner's, mm
    half_width: float  # of the body in the room, mm


def make_anatomy(seed: int) -> Anatomy:
    """Draw a patient; nothing here depends on the image's grid."""
    draw = Draw(seed, 1)
    patient = body.Patient(draw)
    strokes = [
        *body.table(patient),
        *body.wall(patient),
        *chest.lungs(patient),
        *chest.mediastinum(patient),
        *body.muscles(patient),
        *chest.diaphragm(patient),
        *abdomen.bowel(patient),
        *abdomen.upper_abdomen(patient),
        *abdomen.kidneys(patient),
        *abdomen.vessels(patient),
        *skeleton.shoulder_blades(patient.bones),
        *skeleton.ribs(patient.bones, patient.cavity),
        *skeleton.breastbone(patient.bones, patient.cavity),
        *skeleton.hips(patient.bones),
        *skeleton.spine(patient.bones),
    ]
    warp = tuple(waves(draw, 2, amplitude, 190, 380) for amplitude in (7, 5, 8))
    turn = rotation(draw.between(-0.025, 0.025), draw.between(-0.02, 0.02), draw.between(-0.05, 0.05))
    place = (draw.between(-12, 12), draw.between(-160, -120), draw.between(-900, 900))
    return Anatomy(tuple(strokes), warp, turn, patient.scale, place, patient.body.width * patient.scale[0])
