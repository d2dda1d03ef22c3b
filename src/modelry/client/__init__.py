"""The Python SDK, sync and async, typed.

Owns: calling a Modelry server over HTTP.
Does not own: anything of the server; it imports none of it.

    from modelry import Client

    client = Client()                       # MODELRY_URL, MODELRY_API_KEY
    client.register("digits.onnx")
    client.deploy("digits")
    client.wait_model_ready("digits")
    client.infer("digits", {"x": images})["y"]
"""

from modelry.client.async_client import AsyncClient
from modelry.client.client import Client
from modelry.client.errors import ApiError, ModelryError

__all__ = ["ApiError", "AsyncClient", "Client", "ModelryError"]
