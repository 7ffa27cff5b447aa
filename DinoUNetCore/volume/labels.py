"""Labels: what a value in a label map means, its colour, and its SNOMED CT code where one is known."""

import colorsys
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from DinoUNetCore.errors import UserError

Color = tuple[int, int, int]
Code = dict[str, str]  # {"scheme": "SCT", "value": "10200004", "meaning": "Liver"}


def _code(value: str, meaning: str) -> Code:
    return {"scheme": "SCT", "value": value, "meaning": meaning}


_ANATOMY = _code("123037004", "Anatomical Structure")
_RIGHT, _LEFT = _code("24028007", "Right"), _code("7771000", "Left")


@dataclass(frozen=True)
class Label:
    """One structure of a label map. Background (0) is not a label.

    color: red, green, blue, 0 to 255. terminology: None, or {"category": code, "type": code} and, for one side of a
    pair, "modifier": code, where a code is {"scheme", "value", "meaning"} (scheme "SCT" for SNOMED CT).
    """

    name: str
    value: int
    color: Color
    terminology: dict[str, Code] | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"name": self.name, "value": self.value, "color": list(self.color), "terminology": self.terminology}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Label":
        """From `to_json`; UserError says which entry is unusable."""
        try:
            name, value, color, terms = data["name"], data["value"], tuple(data["color"]), data.get("terminology")
            sound = (
                isinstance(name, str)
                and name != ""
                and type(value) is int
                and value != 0
                and len(color) == 3
                and all(type(part) is int and 0 <= part <= 255 for part in color)
                and (terms is None or all(_is_code(terms.get(key)) for key in {"category", "type", *terms}))
            )
        except (KeyError, TypeError, AttributeError):
            sound = False
        if not sound:
            raise UserError(
                f"{data!r} is not a label; it needs a name, a value other than 0, a color of three numbers from 0 to "
                "255 and a terminology (or null)."
            )
        return cls(name, value, color, terms)


def default_labels(values: Mapping[str, int]) -> list[Label]:
    """Labels for a table name -> value, ordered by value; background (value 0) is left out.

    Well-known structures get their usual colour and SNOMED CT code, told from their name ("kidney_left", "LeftKidney",
    "left kidney"); others get clearly different colours and no code.
    """
    labels = []
    unknown = 0
    for name, value in sorted(values.items(), key=lambda item: item[1]):
        if value == 0:
            continue
        words, side = _words_and_side(name)
        color, code = _STRUCTURES.get(_SYNONYMS.get(words, words), (None, None))
        if color is None:
            color, unknown = _distinct_color(unknown), unknown + 1
        elif side == _LEFT:
            color = tuple(round(0.7 * part + 0.3 * 255) for part in color)  # lighter than its right-hand sibling
        terminology = None
        if code is not None:
            terminology = {"category": _ANATOMY, "type": code} | ({"modifier": side} if side else {})
        labels.append(Label(name, value, color, terminology))
    return labels


def _words_and_side(name: str) -> tuple[str, Code | None]:
    """The words of a name in lower case without its side, and the side if it names exactly one."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    words = re.findall(r"[^\W_]+", spaced.lower())
    sides = [side for side, word in ((_LEFT, "left"), (_RIGHT, "right")) if word in words]
    return " ".join(word for word in words if word not in ("left", "right")), sides[0] if len(sides) == 1 else None


def _distinct_color(number: int) -> Color:
    """Steps of the golden angle round the colour circle: neighbours never look alike, and no number is the last."""
    hue = (0.56 + number * 0.6180339887498949) % 1
    saturation, brightness = ((0.65, 0.92), (0.85, 0.75), (0.45, 0.98))[number // 5 % 3]
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, brightness))


def _is_code(code: Any) -> bool:
    return isinstance(code, Mapping) and all(isinstance(code.get(key), str) for key in ("scheme", "value", "meaning"))


# Name without side -> colour, SNOMED CT code. Codes are those of DICOM PS3.16 (as in pydicom's concept dictionary);
# only the deep muscles of the back are coded as 3D Slicer's TotalSegmentator extension does. No code beats a wrong one.
_STRUCTURES: dict[str, tuple[Color, Code | None]] = {
    "body": ((214, 176, 148), _code("38266002", "Entire body")),
    "skin": ((224, 172, 140), _code("39937001", "Skin")),
    "bone": ((241, 230, 190), _code("272673000", "Bone")),
    "skeletal muscle": ((176, 84, 78), _code("127954009", "Skeletal muscle")),
    "brain": ((236, 190, 196), _code("12738006", "Brain")),
    "hippocampus": ((98, 190, 160), _code("5366008", "Hippocampus")),
    "spinal cord": ((252, 214, 56), _code("2748008", "Spinal cord")),
    "spine": ((245, 232, 186), _code("421060004", "Spine")),
    "vertebra": ((245, 232, 186), _code("51282000", "Vertebra")),
    "skull": ((238, 222, 178), _code("89546000", "Skull")),
    "rib": ((232, 216, 168), _code("113197003", "Rib")),
    "sternum": ((226, 208, 156), _code("56873002", "Sternum")),
    "sacrum": ((236, 214, 150), _code("54735007", "Sacrum")),
    "scapula": ((222, 206, 160), _code("79601000", "Scapula")),
    "clavicle": ((234, 220, 176), _code("51299004", "Clavicle")),
    "humerus": ((228, 210, 172), _code("85050009", "Humerus")),
    "femur": ((240, 224, 180), _code("71341001", "Femur")),
    "hip": ((230, 214, 176), _code("29836001", "Hip")),
    "lung": ((96, 172, 222), _code("39607008", "Lung")),
    "trachea": ((150, 226, 236), _code("44567001", "Trachea")),
    "airway": ((150, 226, 236), _code("89187006", "Airway structure")),
    "heart": ((206, 44, 92), _code("80891009", "Heart")),
    "cardiomediastinum": ((206, 44, 92), None),
    "mediastinum": ((222, 130, 150), _code("72410000", "Mediastinum")),
    "thymus": ((150, 214, 90), _code("9875009", "Thymus")),
    "thyroid": ((196, 120, 60), _code("69748006", "Thyroid")),
    "aorta": ((224, 50, 46), _code("15825003", "Aorta")),
    "inferior vena cava": ((58, 104, 214), _code("64131007", "Inferior vena cava")),
    "pulmonary artery": ((84, 130, 230), _code("81040000", "Pulmonary artery")),
    "vessel": ((230, 74, 66), _code("59820001", "Blood vessel")),
    "esophagus": ((212, 158, 110), _code("32849002", "Esophagus")),
    "stomach": ((240, 142, 172), _code("69695003", "Stomach")),
    "duodenum": ((250, 190, 150), _code("38848004", "Duodenum")),
    "small intestine": ((240, 176, 120), _code("30315005", "Small intestine")),
    "colon": ((172, 140, 84), _code("71854001", "Colon")),
    "liver": ((186, 88, 66), _code("10200004", "Liver")),
    "gallbladder": ((112, 172, 68), _code("28231008", "Gallbladder")),
    "pancreas": ((178, 196, 110), _code("15776009", "Pancreas")),
    "spleen": ((146, 88, 172), _code("78961009", "Spleen")),
    "kidney": ((232, 134, 58), _code("64033007", "Kidney")),
    "adrenal gland": ((120, 208, 150), _code("23451007", "Adrenal gland")),
    "bladder": ((226, 206, 84), _code("89837001", "Urinary bladder")),
    "prostate": ((200, 140, 190), _code("41216001", "Prostate")),
    "autochthon": ((168, 84, 92), _code("244849004", "Deep muscle of back")),
    "nucleus": ((86, 198, 188), _code("84640000", "Nucleus")),
}

_SYNONYMS = {
    "lungs": "lung", "kidneys": "kidney", "vertebrae": "vertebra", "vertebral column": "spine",
    "spinal column": "spine",
    "ribs": "rib", "bones": "bone", "urinary bladder": "bladder", "nuclei": "nucleus", "cell nucleus": "nucleus",
    "vessels": "vessel", "blood vessel": "vessel", "blood vessels": "vessel", "retinal vessel": "vessel",
    "retinal vessels": "vessel", "vena cava inferior": "inferior vena cava", "ivc": "inferior vena cava",
    "airways": "airway", "oesophagus": "esophagus", "gall bladder": "gallbladder", "small bowel": "small intestine",
    "adrenal": "adrenal gland", "adrenals": "adrenal gland", "adrenal glands": "adrenal gland", "clavicula": "clavicle",
    "autochthonous muscle": "autochthon", "autochthonous back muscle": "autochthon", "autochthon muscle": "autochthon",
    "hippocampi": "hippocampus", "muscle": "skeletal muscle", "muscles": "skeletal muscle",
    "heart shadow": "cardiomediastinum",
}  # fmt: skip
