"""Extraction: every utterance of a corpus or folder through an extractor, into a feature store, once."""

from emofuse.corpora.folder import folder_utterances
from emofuse.extraction.loop import ExtractionReport, extract
from emofuse.extraction.mapping import Event, load_features, utterance_keys

__all__ = ["Event", "ExtractionReport", "extract", "folder_utterances", "load_features", "utterance_keys"]
