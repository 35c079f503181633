"""Emotion recognition from speech, words and face, in conversation.

``emofuse.load().predict("talk.mp4")`` gives a `Timeline`: a `Prediction` an utterance.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emofuse.predictor import Prediction, Predictor, Recogniser, Sources, Timeline, load, to_pandas

__all__ = ["Prediction", "Predictor", "Recogniser", "Sources", "Timeline", "load", "to_pandas"]


def __getattr__(name: str) -> Any:
    """Import torch and the rest only when something is asked for: `import emofuse` stays quick."""
    if name in __all__:
        from emofuse import predictor

        return getattr(predictor, name)
    raise AttributeError(f"module 'emofuse' has no attribute {name!r}")
