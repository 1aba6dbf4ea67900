"""TinyMLGRU in float32."""

import numpy as np

from setun.firmware.models.checkpoint import Checkpoint
from setun.sim.reference.layers import Array, BitLinear, Ids, scan, sigmoid


class FloatModel:
    """A checkpoint ready to run."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.config, w = checkpoint.config, checkpoint.tensors
        names = [f"{n}.{part}" for n in range(self.config.depth) for part in ("mix", "out")]
        self.linear = {
            name: BitLinear.quantise(w[name], w[f"{name}.gain"], self.config.eps)
            for name in ("head", *names)
        }
        self.embed = w["embed"]
        self.reset()

    def reset(self) -> None:
        self.state: Array = np.zeros((self.config.depth, 1, self.config.memory), np.float32)

    def step(self, token: int) -> Array:
        logits, self.state = self._run(np.array([[token]]), self.state)
        return logits[0, 0]

    def forward_batch(self, ids: Ids) -> Array:
        zeros = np.zeros((self.config.depth, len(ids), self.config.memory), np.float32)
        return self._run(np.asarray(ids), zeros)[0]

    def _run(self, ids: Ids, state: Array) -> tuple[Array, Array]:
        x, end = self.embed[ids], np.empty_like(state)
        for n, before in enumerate(state):
            a, f = np.split(self.linear[f"{n}.mix"](x), 2, axis=-1)
            u = sigmoid(-f)
            h = scan(u * (a * sigmoid(a)), 1 - u, before)
            x, end[n] = x + self.linear[f"{n}.out"](h), h[:, -1]
        return self.linear["head"](x), end
