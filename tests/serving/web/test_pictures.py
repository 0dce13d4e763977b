import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Render = Callable[..., Image.Image]
Choose = Callable[..., None]
SentImages = Callable[[Any], list[Image.Image]]

_GIVE = """
    const [type, name, content] = arguments;
    const transfer = new DataTransfer();
    if (content) {
        const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
        transfer.items.add(new File([bytes], name));
    }
    const init = {bubbles: true, cancelable: true, dataTransfer: transfer, clipboardData: transfer};
    const event = type === "paste" ? new ClipboardEvent(type, init) : new DragEvent(type, init);
    document.getElementById("paper").dispatchEvent(event);
    return event.defaultPrevented;
"""


@pytest.mark.parametrize("name", ["seven.png", "seven.webp", "seven.gif"])
def test_a_chosen_file_is_recognized(page: Any, drawings: Any, render: Render, choose: Choose, name: str) -> None:
    choose(page, render(drawings[7, "a"]), name)
    page.wait_for_label("7")


def test_a_photo_is_rotated_and_shrunk(
    page: Any, drawings: Any, render: Render, choose: Choose, sent_images: SentImages
) -> None:
    photograph = render(drawings[7, "a"], (4800, 3600)).crop((0, 0, 3600, 3600))
    lying = photograph.transpose(Image.Transpose.ROTATE_90).resize((4800, 3600))
    exif = Image.Exif()
    exif[0x0112] = 6  # The camera was turned: to be shown a quarter turn clockwise.
    choose(page, lying, "photograph.jpg", exif=exif)
    page.wait_for_label("7")
    image = sent_images(page)[-1]
    assert image.format == "JPEG"
    assert image.size == (768, 1024)


def test_transparent_pixels_become_white(
    page: Any, drawings: Any, render: Render, choose: Choose, sent_images: SentImages
) -> None:
    picture = render(drawings[2, "a"], mode="RGBA")
    picture.putalpha(picture.convert("L").point(lambda value: 255 - value))
    choose(page, picture, "two.png")
    page.wait_for_label("2")
    assert sent_images(page)[-1].convert("RGBA").getpixel((0, 0)) == (255, 255, 255, 255)


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_picture_can_be_dropped_or_pasted(page: Any, drawings: Any, render: Render, tmp_path: Path, way: str) -> None:
    render(drawings[5, "a"]).save(tmp_path / "five.png")
    content = base64.b64encode((tmp_path / "five.png").read_bytes()).decode()
    prevented = page.browser.execute_script(_GIVE, way, "five.png", content)
    assert prevented == (way == "drop"), "otherwise the browser would leave the page for the picture"
    page.wait_for_label("5")


def test_drawing_replaces_a_picture_until_undo(page: Any, drawings: Any, render: Render, choose: Choose) -> None:
    choose(page, render(drawings[0, "a"]), "zero.png")
    page.wait_for_label("0")
    page.draw(drawings[1, "a"])
    page.wait_for_label("1")
    page.element("undo").click()
    page.wait_for_label("0")


def test_the_same_file_can_be_chosen_again(page: Any, drawings: Any, render: Render, choose: Choose) -> None:
    for _ in range(2):
        choose(page, render(drawings[0, "a"]), "zero.png")
        page.wait_for_label("0")
        page.element("clear").click()


def test_a_blank_picture(page: Any, choose: Choose) -> None:
    choose(page, Image.new("RGB", (200, 100), "#f4f0e0"), "blank.png")
    assert page.last_answer() == "Nothing to read. There is no ink in this picture."
    assert page.text("label") == ""


@pytest.mark.parametrize(
    ("give", "sentence"),
    [
        (("drop", "notes.png", base64.b64encode(b"no picture").decode()), "“notes.png” cannot be opened as a picture."),
        (("drop", "", ""), "You did not drop a file."),
        (("paste", "", ""), "The clipboard contains no picture."),
    ],
    ids=["no picture", "no file", "text"],
)
def test_files_that_are_not_pictures_are_refused(page: Any, give: tuple[str, str, str], sentence: str) -> None:
    page.browser.execute_script(_GIVE, *give)
    page.wait_for(lambda: page.text("problem-sentence") == sentence, sentence)
    assert page.text("problem-remedy") != ""
