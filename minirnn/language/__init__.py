"""The character language model: text, the model, how it is sampled and how it is evaluated."""

from minirnn.language.evaluation import Evaluation, evaluate
from minirnn.language.model import LanguageModel
from minirnn.language.text import Text, TextError, Vocabulary, pydoc_topics

__all__ = ["Evaluation", "LanguageModel", "Text", "TextError", "Vocabulary", "evaluate", "pydoc_topics"]
