"""ssv: self-supervised pretraining on video, and what it is worth downstream."""

__version__ = "0.1.0"
