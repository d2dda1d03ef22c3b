"""How well an engine predicts a text: mean negative log-likelihood (NLL) per token.

Usage: python -m benchmarks.likelihood llamacpp|openvino FILE

llama.cpp is made to generate the text: every token is forced by a bias, and its log-probability,
which is taken before biases, is noted. OpenVINO tells the log-probabilities of a prompt.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from modelry.runtime_api.engine import LoadSpec, StopSignal, SupportsCompletion
from modelry.runtime_api.generation import CompletionRequest, EngineEvent, Sampling, TextDelta
from modelry.runtimes.llamacpp.runtime import LlamaCppRuntime

TEXT = """\
The lighthouse keeper climbed the narrow stairs every evening before the sun went down. He \
carried a small lamp, a piece of bread and a book about the stars. From the top he could see the \
whole bay: the fishing boats coming home, the white houses along the harbour and, far away, the \
dark line of the mountains. When the first stars appeared, he lit the great lamp and wrote the \
time in his diary. Some nights the fog was so thick that he could not see the water below, and \
he listened to the bells of the ships instead. In winter the storms shook the windows, and the \
waves threw stones against the door. Yet he never missed a single night in thirty years, because \
he knew that someone out there was looking for his light. Scientists have since explained how \
the lens of such a lamp bends the light into a single beam, which can be seen from more than \
thirty kilometres away. The idea came from a French engineer who worked on the problem of glass \
and weight in the early nineteenth century.
"""


def llamacpp(path: Path) -> list[float]:
    """Log-probability of every token but the first."""
    manifest = {"limits": {"context": 512}}
    engine = LlamaCppRuntime().load(LoadSpec("chat", "llamacpp", manifest, {"model": path}))
    server = engine._server  # noqa: SLF001 - the one question that the contract does not have
    tokens: list[int] = server.ask("/tokenize", {"content": TEXT, "add_special": True})["tokens"]
    assert isinstance(engine, SupportsCompletion)
    found = []
    for at in range(1, len(tokens)):
        events: list[EngineEvent] = []
        sampling = Sampling(max_tokens=1, temperature=0.0, logit_bias={tokens[at]: 100})
        request = CompletionRequest(tokens[:at], sampling, top_logprobs=1)
        engine.complete(request, events.append, StopSignal())
        (one,) = [lp for event in events if isinstance(event, TextDelta) for lp in event.logprobs]
        found.append(one.logprob)
    engine.close()
    return found


def openvino(path: Path) -> list[float]:
    """Log-probability of every token but the first."""
    import openvino_genai

    scheduler = openvino_genai.SchedulerConfig()
    scheduler.num_kv_blocks = 64
    scheduler.max_num_batched_tokens = 1024
    properties = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f16"}
    pipeline = openvino_genai.ContinuousBatchingPipeline(
        str(path), scheduler, "CPU", properties, {}
    )
    config = openvino_genai.GenerationConfig()
    config.echo = True
    config.logprobs = 1
    config.max_new_tokens = 1
    prompt = pipeline.get_tokenizer().encode(TEXT, add_special_tokens=True).input_ids
    handle = pipeline.add_request(1, prompt, config)
    while pipeline.has_non_finished_requests():
        pipeline.step()
    (output,) = handle.read().values()
    return list(output.generated_log_probs[1 : prompt.shape[1]])


if __name__ == "__main__":
    log_probs = {"llamacpp": llamacpp, "openvino": openvino}[sys.argv[1]](Path(sys.argv[2]))
    print(json.dumps({"nll": -sum(log_probs) / len(log_probs), "tokens": len(log_probs)}))
