"""Emotion recognition from speech, words and face, in conversation.

``emofuse.load().predict("talk.mp4")`` gives a `Timeline`: a `Prediction` an utterance;
``emofuse.Client(URL).predict("talk.mp4")`` the same, made by a server.
"""

import os
from typing import TYPE_CHECKING, Any

# By default onnxruntime (since 1.32) writes down what it is used for and sends it to its maker. Nothing leaves here.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from emofuse.client import Client
    from emofuse.predictor import Prediction, Predictor, Recogniser, Sources, Timeline, load, to_pandas

__all__ = ["Client", "Prediction", "Predictor", "Recogniser", "Sources", "Timeline", "load", "to_pandas"]


def __getattr__(name: str) -> Any:
    """Import torch and the rest only when something is asked for: `import emofuse` stays quick."""
    if name == "Client":
        from emofuse.client import Client

        return Client
    if name in __all__:
        from emofuse import predictor

        return getattr(predictor, name)
    raise AttributeError(f"module 'emofuse' has no attribute {name!r}")
