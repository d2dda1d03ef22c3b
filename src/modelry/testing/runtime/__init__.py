"""What every runtime and its engines must do.

A runtime's tests say in one class what they give, and inherit it together with
`LoadingContract`, and with the suites of the abilities that its engines have:

    class Echo:
        runtime_class = EchoRuntime

        @classmethod
        def make_spec(cls, folder):
            ...

    class TestLoading(Echo, LoadingContract): ...
    class TestEngine(Echo, TensorContract, ChatContract): ...

Suites of abilities that an engine has must be inherited: `EngineContract` fails otherwise.
"""

from modelry.testing.runtime.answer_scores import AnswerScoresContract
from modelry.testing.runtime.embedding import TextEmbeddingContract
from modelry.testing.runtime.engine import EngineContract
from modelry.testing.runtime.generation import ChatContract, CompletionContract
from modelry.testing.runtime.loading import LoadingContract
from modelry.testing.runtime.tensors import TensorContract
from modelry.testing.runtime.text_to_text import TextToTextContract

__all__ = [
    "AnswerScoresContract",
    "ChatContract",
    "CompletionContract",
    "EngineContract",
    "LoadingContract",
    "TensorContract",
    "TextEmbeddingContract",
    "TextToTextContract",
]
