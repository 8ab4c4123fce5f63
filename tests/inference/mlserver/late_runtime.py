"""The model that MLServer serves in `tests.integration.test_open_inference_server`: it runs in its environment."""

from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Late(MLModel):
    """Scores the sum of a matrix's row, or a distance and a carrier by their names; says the deadline it was given."""

    async def load(self) -> bool:
        """Nothing is learned."""
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer one request."""
        given = {each.name: each for each in payload.inputs}
        if "input-0" in given:
            sums = NumpyCodec.decode_input(given["input-0"]).sum(axis=1, keepdims=True)
        else:
            sums = NumpyCodec.decode_input(given["distance"]).astype("float64")
            carriers = StringCodec.decode_input(given["carrier"])
            sums += [[1_000.0 if carrier == "UA" else 0.0] for carrier in carriers]
        headers = {name.lower(): value for name, value in payload.parameters.headers.items()}
        told = NumpyCodec.encode_output("deadline", sums * 0 + int(headers["headrace-timeout-ms"]))
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("score", sums / 10_000), told])
