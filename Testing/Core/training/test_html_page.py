from html.parser import HTMLParser

from DinoUNetCore.training.html_page import Html, folded, page, paragraph, picture, section, table, tiles, warning

PNG = b"\x89PNG\r\n\x1a\n not really"
VOID = {"meta", "img"}


class Reader(HTMLParser):
    """Collects tags, attributes and text, and sees whether all that is opened is closed."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def everything() -> str:
    parts = [
        tiles([("0.88", "mean Dice")]),
        section("Cases", "plain", paragraph("more"), warning("beware"), table(("case", "Dice"), [("a", "0.9")])),
        folded("Details", picture(PNG, "a picture")),
    ]
    return page("A run", parts)


def test_a_page_is_well_formed_and_stands_alone():
    read = Reader(everything())
    assert not read.open and read.tags.count("h2") == 1 and "table" in read.tags
    assert "script" not in read.tags and "link" not in read.tags
    sources = [value for name, value in read.attributes if name in ("src", "href")]
    assert len(sources) == 1 and sources[0].startswith("data:image/png;base64,")


def test_texts_are_escaped_wherever_they_stand():
    evil = '<script>alert("x")</script> & <b'
    parts = [
        evil, warning(evil), tiles([(evil, evil)]), section(evil, folded(evil, evil)), table((evil,), [(evil,)]),
        picture(PNG, evil),
    ]  # fmt: skip
    read = Reader(page(evil, parts))
    assert not {"script", "b"} & set(read.tags[: read.tags.index("body")]) and read.tags.count("b") == 1  # the tile's
    assert read.text.count(evil) == 12 and ("alt", evil) in read.attributes


def test_columns_of_numbers_are_set_right_and_missing_cells_are_empty():
    text = table(("case", "Dice", "note"), [("a", "0.91 ± 0.02", "2nd"), ("b", None, "1"), ("c", 4, "-")])
    assert text.count('class="number"') == 4 and "None" not in text
    assert Reader(text).tags.count("td") == 9


def test_a_table_may_have_no_rows_or_no_head():
    assert Reader(table(("a", "b"), [])).tags.count("th") == 2
    assert "thead" not in Reader(table((), [("a", "b")])).tags


def test_what_is_html_already_stays_as_it_is():
    assert Html("<p>x</p>") in section("title", paragraph("x"))
