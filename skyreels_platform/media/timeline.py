"""When each picture of a video is shown: measured from packet timestamps by demuxing the whole file once, without decoding.

Everything that must agree about frame numbers reads this: `probe` reports it, `decode` seeks and counts by it. A frame's
index is its position in display order among the packets that a player shows (packets that an edit list hides are left out),
so indices stay exact after a seek and when the decoder refuses a picture.

Cost: one sequential read of the file, then cached by path, size and modification time.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from skyreels_platform.errors import DecodeError

FIRST_PICTURE_PACKETS = 500
"""A file whose first 500 packets decode to no picture is refused (our choice: far beyond any decoder's delay)."""
_LONE_INTERVAL_TOLERANCE = (0.1, 0.0015)  # share of the median interval, plus seconds for containers that round to 1 ms
_VFR_SHARE = 0.01
_RATE_TOLERANCE = 0.005
_MISSING_TOLERANCE = (0.5, 0.01)  # seconds, plus share of the declared duration
_DECLARING = ("mov", "matroska", "avi")  # demuxers whose duration is declared in a header; others estimate it from what is there
_FALLBACK_FPS = Fraction(25)  # one lone picture without any declared rate


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The pictures of one video stream in display order."""

    pts: np.ndarray | None
    """(F,) int64, increasing, in units of `time_base`. None when the file has none to rely on (raw; AVI with B-frames)."""
    keyframes: np.ndarray
    """(K,) int64, increasing: pts of the pictures at which decoding can begin."""
    num_frames: int
    """F: pictures that a player shows, counted by packets."""
    time_base: Fraction
    """Seconds per unit of `pts`."""
    fps: Fraction
    """Frames per second, see `rate`."""
    is_vfr: bool
    """Whether intervals differ, see `is_variable`."""
    duration: Fraction
    """Seconds from the first picture's start to the last one's end."""
    width: int
    """Pixels as displayed: after rotation, with square pixels."""
    height: int
    """Pixels as displayed: after rotation, with square pixels."""
    rotation: int
    """Degrees clockwise that a player turns the stored picture: 0, 90, 180, 270."""

    def time(self, index: int) -> Fraction:
        """Seconds at which picture `index` appears; picture 0 appears at 0. `index` = num_frames gives the end."""
        if index >= self.num_frames:
            return self.duration
        if self.pts is None:
            return index / self.fps
        return int(self.pts[index] - self.pts[0]) * self.time_base

    def index(self, pts: int | None) -> int | None:
        """Position of the picture with this timestamp, None if there is none."""
        if self.pts is None or pts is None:
            return None
        position = int(np.searchsorted(self.pts, pts))
        return position if position < self.num_frames and self.pts[position] == pts else None

    def keyframe_before(self, index: int) -> int | None:
        """Timestamp of the last keyframe at or before picture `index`, None if decoding must begin at the start."""
        if self.pts is None:
            return None
        position = int(np.searchsorted(self.keyframes, self.pts[index], side="right"))
        return int(self.keyframes[position - 1]) if position else None


def read_timeline(path: Path) -> Timeline:
    """The timeline of a video file. DecodeError with a plain reason when the file holds no pictures or was cut short."""
    status = path.stat()
    return _read(path.resolve(), status.st_size, status.st_mtime_ns)


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its first video stream that is not cover art. DecodeError says why there is none."""
    if not path.is_file():
        raise DecodeError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise DecodeError(f"{path}: the file is empty; copy or download it again")
    try:
        # Playlists could name servers: only files are read. Odd bytes in titles are no reason to refuse a film.
        container = av.open(str(path.resolve()), metadata_errors="replace", options={"protocol_whitelist": "file"})
    except (FFmpegError, ValueError) as error:
        raise DecodeError(f"{path}: {_why_not_opened(path, error)}") from error
    with container:
        if container.format.name == "tty":
            raise DecodeError(f"{path}: a text file, not a video or an image")
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            found = "audio only, it holds no pictures" if container.streams.audio else "it has no video stream"
            raise DecodeError(f"{path}: {found}; hand in a video or an image")
        yield container, streams[0]


def _why_not_opened(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp":
        return "truncated: its index (moov) is missing, the file was cut short or never finished; copy or download it again"
    if isinstance(error, EOFError):
        return "zero length: it ends right after its header; copy or download it again"
    return "not a video or an image that can be read; convert it to MP4, WebM, MKV, PNG or JPEG"


@functools.lru_cache(maxsize=8)
def _read(path: Path, size: int, modified_ns: int) -> Timeline:  # size and modified_ns only tell one content from the next
    pts, durations, keys, time_base, declared_rates, missing = _demux(path)
    if not pts:
        raise DecodeError(f"{path}: zero length: the video stream holds no pictures")
    if missing:
        raise DecodeError(f"{path}: truncated: {missing}; copy or download it again")
    width, height, rotation = _first_picture(path)
    usable = None not in pts and len(set(pts)) == len(pts)
    order = np.argsort(np.array(pts, dtype=np.int64)) if usable else None
    sorted_pts = np.array(pts, dtype=np.int64)[order] if order is not None else None
    intervals = np.diff(sorted_pts).astype(float) * float(time_base) if sorted_pts is not None else np.zeros(0)
    variable = is_variable(intervals)
    fps = rate(intervals, variable, declared_rates)
    if sorted_pts is None or order is None:
        duration = len(pts) / fps
    else:
        # A constant rate knows its last interval better than a container that rounds durations to 1 ms.
        last = (durations[order[-1]] * time_base if variable else 0) or 1 / fps
        duration = int(sorted_pts[-1] - sorted_pts[0]) * time_base + last
    return Timeline(
        pts=sorted_pts, keyframes=np.array(sorted(keys), dtype=np.int64), num_frames=len(pts), time_base=time_base, fps=fps,
        is_vfr=variable, duration=duration, width=width, height=height, rotation=rotation,
    )


def _demux(path: Path) -> tuple[list[int | None], list[int], list[int], Fraction, list[Fraction], str]:
    """Packets of the shown pictures (pts, duration), keyframe pts, time base, the container's own rates, and what is missing."""
    pts: list[int | None] = []
    durations: list[int] = []
    keys: list[int] = []
    end = Fraction(0)  # seconds, of this stream if it declares a duration, else of all streams together
    with open_video(path) as (container, stream):
        time_base = stream.time_base or Fraction(1, 1000)
        per_stream = stream.duration is not None
        # AVI stores decode order alone: with B-frames, FFmpeg's presentation times are that order again.
        invented = container.format.name == "avi" and stream.codec_context.has_b_frames
        watched = [stream] if per_stream else [s for s in container.streams if s.type in ("video", "audio")]
        try:
            for packet in container.demux(*watched):
                if not packet.size:
                    continue  # the marker at the end of a stream
                stamp = packet.dts if packet.pts is None else packet.pts
                if stamp is not None and not packet.is_corrupt:
                    end = max(end, (stamp + (packet.duration or 0)) * packet.time_base)
                if packet.stream_index != stream.index or packet.is_discard:
                    continue
                pts.append(None if invented else packet.pts)
                durations.append(packet.duration or 0)
                if packet.is_keyframe and packet.pts is not None:
                    keys.append(packet.pts)
        except FFmpegError:
            pass  # what could be read counts; the duration rule below tells a cut file
        rates = [r for r in (stream.base_rate, stream.guessed_rate, stream.average_rate) if r]
        start = (stream.start_time or 0) * time_base if per_stream else 0
        missing = _missing(container, stream, end - start)
    return pts, durations, keys, time_base, rates, missing


def _missing(container: InputContainer, stream: VideoStream, held: Fraction) -> str:
    """Words for a file whose packets end well before its declared duration; empty when all is there.

    Durations, not frame counts (AVI apart): an edit list may hide packets that the header still counts.
    """
    if not container.format.name.startswith(_DECLARING):
        return ""
    if stream.duration is not None and stream.time_base is not None:
        declared = stream.duration * stream.time_base
    else:
        declared = Fraction(container.duration or 0, av.time_base)
    if container.format.name == "avi" and stream.frames and stream.average_rate:
        declared = max(declared, stream.frames / stream.average_rate)  # a cut AVI's duration is an estimate, its count is not
    seconds, share = _MISSING_TOLERANCE
    if float(declared - held) <= seconds + share * float(declared):
        return ""
    return f"it declares {float(declared):.2f} s and holds {max(float(held), 0):.2f} s"


def _first_picture(path: Path) -> tuple[int, int, int]:
    """Displayed width and height and clockwise rotation, by decoding the first picture that decodes."""
    with open_video(path) as (container, stream):
        for number, packet in enumerate(container.demux(stream)):
            if number > FIRST_PICTURE_PACKETS:
                break
            try:
                decoded = packet.decode()
            except (FFmpegError, EOFError):
                continue
            for frame in decoded:
                rotation = -frame.rotation % 360 // 90 * 90  # PyAV counts counter-clockwise
                aspect = stream.sample_aspect_ratio or Fraction(1)
                stretch = aspect if Fraction(1, 4) <= aspect <= 4 else Fraction(1)  # beyond that the header is wrong
                size = (round(frame.width * stretch), frame.height)
                width, height = size[::-1] if rotation % 180 else size
                return width, height, rotation
    raise DecodeError(f"{path}: no decodable picture: the stream is damaged, or its codec is not supported; convert it to H.264")


def is_variable(intervals: np.ndarray) -> bool:
    """Whether the frame rate varies. intervals: (F - 1,) seconds between neighbouring pictures.

    An interval is off when it differs from the median by more than 10 % + 1.5 ms (containers round to 1 ms). The rate varies
    when more than one and more than 1 % of the intervals are off, or when those that are off shift the end by more than 1.5
    intervals plus 1 % of the length: a single dropped picture is no variable rate, a long pause is (our choice).
    """
    if len(intervals) < 2:
        return False
    regular, interval = _regular(intervals)
    drift = abs(float(intervals.sum()) - len(intervals) * interval)
    num_off = len(intervals) - int(regular.sum())
    return num_off > max(1, _VFR_SHARE * len(intervals)) or drift > interval * 1.5 + _VFR_SHARE * float(intervals.sum())


def rate(intervals: np.ndarray, variable: bool, declared: list[Fraction]) -> Fraction:
    """Frames per second. intervals: (F - 1,) seconds; declared: r_frame_rate, FFmpeg's guess and avg_frame_rate, in this order.

    Constant rate: the first declared rate within 0.5 % of the measured one (so NTSC stays 30000/1001, and an average that an edit
    list has bent loses against r_frame_rate); else the measured one. Variable rate: the measured average.
    """
    if not len(intervals):
        return declared[-1] if declared else _FALLBACK_FPS
    interval = float(intervals.mean()) if variable else _regular(intervals)[1]
    measured = 1 / interval
    agreeing = [r for r in declared if abs(float(r) - measured) <= _RATE_TOLERANCE * measured and not variable]
    return agreeing[0] if agreeing else Fraction(measured).limit_denominator(1001)


def _regular(intervals: np.ndarray) -> tuple[np.ndarray, float]:
    """Which intervals lie near the median, and the mean of those."""
    median = float(np.quantile(intervals, 0.5, method="lower"))  # one of the intervals itself: at least that one is regular
    share, seconds = _LONE_INTERVAL_TOLERANCE
    regular = np.abs(intervals - median) <= share * median + seconds
    return regular, float(intervals[regular].mean())
