"""Still images as one-frame sources, read with Pillow: PNG, JPEG, WebP, BMP and TIFF, told apart by content, not by name."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from skyreels_platform.errors import DecodeError

_ORIENTATION = 0x0112  # EXIF tag
_TURN = {3: 180, 4: 180, 5: 270, 6: 90, 7: 90, 8: 270}  # EXIF orientation -> degrees clockwise that a viewer turns the picture
_BACKGROUND = (255, 255, 255)  # our choice: what shows through transparency, as on a page


@dataclass(frozen=True, kw_only=True)
class Still:
    """One decoded still image."""

    image: np.ndarray
    """(H, W, 3) uint8 RGB as a viewer shows it: EXIF orientation applied, transparency laid over white."""
    format: str
    """`png`, `jpeg`, `webp`, `bmp` or `tiff`."""
    mode: str
    """Pillow's name of the stored pixel format: `RGB`, `RGBA`, `L`, `P`, `I;16`, `CMYK`, ..."""
    rotation: int
    """Degrees clockwise that EXIF asks for (already applied): 0, 90, 180 or 270."""


def is_still(path: Path) -> bool:
    """Whether the file begins like one of the image formats above. GIFs are films here: PyAV reads them."""
    with path.open("rb") as file:
        head = file.read(12)
    starts = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\x00", b"MM\x00*")
    return head.startswith(starts) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def read_still(path: Path) -> Still:
    """Decode an image. DecodeError for damage, truncation, animation, and more pixels than Pillow's limit (89 million).

    JPEG repairs damage inside its scan data by itself and then shows garbage blocks: no decoder reports that.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            warnings.filterwarnings("ignore", module="PIL", category=UserWarning)  # oddities of EXIF and TIFF tags
            return _read(path)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DecodeError(f"{path}: the image is too large to decode safely ({error}); scale it down first") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # Pillow reports a broken PNG as SyntaxError
        raise DecodeError(f"{path}: the image is damaged or cut short ({error}); export it again") from error


def _read(path: Path) -> Still:
    with Image.open(path) as image:
        if getattr(image, "is_animated", False) and image.format in ("PNG", "WEBP"):
            raise DecodeError(f"{path}: an animated {image.format}; convert it to a video file first")
        orientation = image.getexif().get(_ORIENTATION, 1)
        image.load()
        upright = _rgb(ImageOps.exif_transpose(image))
        return Still(image=upright, format=(image.format or "").lower(), mode=image.mode, rotation=_TURN.get(orientation, 0))


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):  # Pillow would clip 16-bit gray at 255
        gray = (np.asarray(image).astype(np.uint32) // 257).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, (*_BACKGROUND, 255)), rgba)
    return np.array(image.convert("RGB"))
