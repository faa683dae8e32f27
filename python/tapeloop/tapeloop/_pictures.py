"""Pictures that the extension module does not unpack itself: video through PyAV, other files through Pillow."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from .errors import CorruptError, InvalidError

if TYPE_CHECKING:
    import numpy as np

    _Array = np.ndarray[Any, Any]

# What messages call a codec, and what FFmpeg calls it.
_CODECS = {"h264": "h264", "h265": "hevc", "hevc": "hevc", "av1": "libdav1d", "vp8": "vp8", "vp9": "vp9"}
_VIDEO_FORMATS = {"rgb": "rgb24", "bgr": "bgr24", "gray": "gray"}
_FILE_MODES = {"rgb": "RGB", "bgr": "RGB", "gray": "L"}


class Video:
    """Unpacks the packets of one video; what goes in with a key comes out with it, at once or later.

    Args:
        codec: What the message calls its codec.
        form: The form of the pixels: ``rgb``, ``bgr``, ``gray`` or ``native``.

    Raises:
        InvalidError: PyAV is not installed, or knows no such codec.
    """

    def __init__(self, codec: str, form: str) -> None:
        try:
            import av
            from av.error import FFmpegError
        except ImportError as error:
            raise InvalidError(
                f"video in {codec} needs PyAV to be unpacked: pip install av, or pip install 'tapeloop[video]'"
            ) from error
        self._packet = av.Packet
        self._error = FFmpegError
        self._form = form
        try:
            # Opened by the first packet. One thread per picture would keep several of them back.
            self._context: Any = av.CodecContext.create(_CODECS.get(codec, codec), "r")
            self._context.thread_type = "SLICE"
        except (ValueError, FFmpegError) as error:
            raise InvalidError(f"video in {codec} is not unpacked by the installed PyAV") from error

    def decode(self, key: int, data: bytes) -> list[tuple[int, _Array]]:
        """Returns the pictures that a packet completes. What comes before the first key frame makes none."""
        packet: Any = self._packet(data)
        packet.pts = packet.dts = key
        return self._pictures(packet)

    def flush(self) -> list[tuple[int, _Array]]:
        """Returns the pictures that were kept back."""
        return self._pictures(None)

    def _pictures(self, packet: Any) -> list[tuple[int, _Array]]:
        try:
            frames = self._context.decode(packet)
        except self._error:
            return []
        format = _VIDEO_FORMATS.get(self._form)
        return [(-1 if frame.pts is None else frame.pts, frame.to_ndarray(format=format)) for frame in frames]


def unpack(format: str, data: bytes, form: str) -> _Array:
    """Returns the pixels of a file that is neither JPEG nor PNG.

    Args:
        format: What the message calls its format.
        data: The file's bytes.
        form: The form of the pixels: ``rgb``, ``bgr``, ``gray`` or ``native``.

    Raises:
        InvalidError: Pillow is not installed, or does not know the format.
        CorruptError: The bytes are damaged.
    """
    import numpy

    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise InvalidError(f"pictures in '{format}' need Pillow to be unpacked: pip install pillow") from error
    try:
        image: Any = Image.open(BytesIO(data))
        pixels: _Array = numpy.asarray(image if form == "native" else image.convert(_FILE_MODES[form]))
    except UnidentifiedImageError as error:
        raise InvalidError(f"a picture of format '{format}' is none that the installed Pillow reads") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise CorruptError(f"a picture of {len(data)} bytes in '{format}' cannot be unpacked: {error}") from error
    return pixels[:, :, ::-1] if form == "bgr" else pixels
