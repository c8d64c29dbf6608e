"""The data of tracking: sequences whose first frame is labelled, and their frames one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import cv2
import torch
from torch import Tensor

from ssv.data.readers.base import Reader, VideoError
from ssv.data.readers.probe import look
from ssv.data.sequences.pictures import PICTURES_PER_SECOND, read_picture
from ssv.data.sets.lookup import is_video
from ssv.types import Clips, ObjectSequence, PartSequence, PointSequence

LabelledSequence = ObjectSequence | PartSequence | PointSequence

READ_AT_ONCE = 16  # frames of a video file; seeking for each anew would decode from the last key frame every time
CALIBRATION = (8, 160)  # frames of a clip, pixels of its short side


class Sequences:
    """Labelled sequences of one data set, and how their frames are read.

    Not a set of clips: what wants ``split`` or ``loader`` needs another data set.
    """

    def __init__(
        self,
        root: str,
        sequences: Callable[[str], list[LabelledSequence]],
        size: int | list[int] | None,
        *,
        reader: Reader,
        seed: int,
    ) -> None:
        """A data set and how to read it.

        Args:
            root: folder of the data set.
            sequences: ``root -> list``, all of one kind.
            size: the size at which this data set is measured, for the evaluation to take; None leaves it to that.
            reader: reads video files.
            seed: nothing here is random; it is what every data set is given.
        """
        self.root, self.size, self.reader, self.seed = root, size, reader, seed
        self._sequences = sequences
        self._listed: list[LabelledSequence] | None = None

    def sequences(self) -> list[LabelledSequence]:
        """All of them. Raises DataNotFound if they are not there."""
        if self._listed is None:
            self._listed = self._sequences(self.root)
        return self._listed

    def count(self, sequence: LabelledSequence) -> int:
        """Number of frames."""
        if _is_file(sequence):
            return len(look(sequence.frames[0]).info.seconds)
        return len(sequence.frames)

    def rate(self, sequence: LabelledSequence) -> float:
        """Frames per second; pictures are taken to come at 25 a second."""
        return look(sequence.frames[0]).info.rate if _is_file(sequence) else PICTURES_PER_SECOND

    def frames(self, sequence: LabelledSequence) -> Iterator[Tensor]:
        """Frames in order, uint8 (3,H,W) each, read as they are asked for.

        Raises:
            VideoError: if one cannot be read, or is of another size than the first.
        """
        if _is_file(sequence):
            yield from self._of_file(sequence.frames[0], self.count(sequence))
            return
        shape = None
        for path in sequence.frames:
            frame = torch.from_numpy(read_picture(path)).permute(2, 0, 1)
            shape = shape or frame.shape
            if frame.shape != shape:
                raise VideoError(
                    path,
                    f"{frame.shape[2]}x{frame.shape[1]} pixels, the frames before it {shape[2]}x{shape[1]}; frames of "
                    "a sequence have one size",
                )
            yield frame

    def calibration(self, seed: int) -> Iterable[Clips]:
        """The first frames of each sequence as clips (1,1,3,T,H,W), to measure the statistics of batch norms on."""
        return self._clips(self.sequences())

    def _clips(self, sequences: list[LabelledSequence]) -> Iterator[Clips]:
        length, side = CALIBRATION
        for row, sequence in enumerate(sequences):
            frames = [frame for _, frame in zip(range(length), self.frames(sequence))]
            height, width = frames[0].shape[1:]
            size = max(1, round(side * width / min(height, width))), max(1, round(side * height / min(height, width)))
            small = [torch.from_numpy(cv2.resize(frame.permute(1, 2, 0).numpy(), size)) for frame in frames]
            pixels = torch.stack(small).permute(3, 0, 1, 2)[None, None]
            seconds = torch.arange(len(frames), dtype=torch.float32)[None, None] / self.rate(sequence)
            yield Clips(pixels, seconds, torch.tensor([-1]), torch.tensor([row]))

    def _of_file(self, path: str, count: int) -> Iterator[Tensor]:
        for start in range(0, count, READ_AT_ONCE):
            some = self.reader.read(path, range(start, min(start + READ_AT_ONCE, count)))
            yield from torch.from_numpy(some).permute(0, 3, 1, 2)


def _is_file(sequence: LabelledSequence) -> bool:
    return len(sequence.frames) == 1 and is_video(sequence.frames[0])
